"""A scanner changes what decoding costs and nothing of what comes out, whatever the bytes."""

import numpy as np
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ingest.dxlink_columns import read_prints
from ingest.dxlink_decode import Decoder, Frame, Rows, Scanned
from ingest.dxlink_scan import Scanner
from ingest.dxlink_wire import FIELDS

ALL = list(FIELDS["TimeAndSale"])
SCANNER = Scanner()
SCANNER.learn(["SPY", "/MNQZ26:XCME", "@ TI"])
# Of each field what is common, and everywhere what is not.
COMMON = {
    "eventSymbol": ['"SPY"', '"/MNQZ26:XCME"', '"NEW"'],
    "eventFlags": ["0", "4", "10", "-1"],
    "index": ["7569990669873414453", "7569990669873414454", "9223372036854775807", "0"],
    "timeNanoPart": ["0", "999999"],
    "price": ["25480.25", "677.4112", "1", "-37.63", '"NaN"', "0.1"],
    "size": ["1.0", "100", "0", '"NaN"', "3.0"],
    "bidPrice": ["25480.0", '"NaN"', '"Infinity"', '"-Infinity"'],
    "askPrice": ["25480.25", '"NaN"'],
    "exchangeSaleConditions": ["null", '"\\u0000"', '"@ TI"', '"new"', '""'],
    "aggressorSide": ['"BUY"', '"SELL"', '"UNDEFINED"'],
    "spreadLeg": ["false", "true"],
    "validTick": ["true", "false"],
    "type": ['"NEW"', '"CORRECTION"', '"CANCEL"'],
}
ODD = [
    *("-0", "-0.0", "0.0", "01", "1.", ".5", "-", "1e3", "1E-2", "+1", "1.5", "--1", "1.2.3", ""),
    *("9223372036854775808", "-9223372036854775808", "-9223372036854775809", "9007199254740993"),
    *("18446744073709551616", "99999999999999999999999", "1.7976931348623157e308", "1e999"),
    *("337.83147282794969", "44667375401.9253275", "1483838.32790285744"),
    *("0.30000000000000004", "9007199254740992.5", "0.00000000000000000000001", "NaN"),
    *("null", "nul", "true", "tru", "falsy", "[]", "{}", "[1]", " 1", "1 ", '"1.5"', '"1"'),
    *(
        '"\\u0000"',
        '"\\u0001"',
        '"\\u0000a"',
        '"NaN',
        '"\\u004eEW"',
        '"é"',
        '"a\\"b"',
        '"\t"',
        '"' + "x" * 17 + '"',
        '"buy"',
    ),
]
NUMBERS = st.integers(-(2**66), 2**66).map(str) | st.builds(
    lambda whole, part: f"{whole}.{part}",
    st.integers(-(10**9), 10**17),
    st.text("0123456789", min_size=1, max_size=24),
)
ODDITIES = st.sampled_from(ODD) | NUMBERS


def head(channel=3):
    return b'{"type":"FEED_DATA","channel":%d,"data":["TimeAndSale",[' % channel


@st.composite
def frames(draw, odd=ODDITIES):
    layout = draw(st.just(ALL) | st.permutations(ALL).map(lambda names: [*names][:10]))
    rows = draw(st.integers(1, 4))
    values = [draw(st.sampled_from(COMMON[name])) for _ in range(rows) for name in layout]
    for place in draw(st.lists(st.integers(0, len(values) - 1), max_size=2)):
        values[place] = draw(odd)
    return layout, head() + ",".join(values).encode() + b"]]}"


def bits(column):
    values = column.tolist() if column.dtype == object else column.tobytes()
    return column.dtype, values


def told(parts):
    """Everything that parts say, to the last bit."""
    out = []
    for part in parts:
        if not isinstance(part, Rows | Scanned):
            out.append(part)
            continue
        read = read_prints(part)
        assert part.last_ns == 5_000
        out.append((part.channel, part.event, len(part), read.rejects))
        for symbol, prints in read.by_symbol():
            columns = {name: bits(column) for name, column in prints.columns.items()}
            beside = [bits(column) for column in (prints.flags, prints.content, prints.legs)]
            out.append((symbol, columns, beside))
    return out


def config(layout, channel=3):
    fields = {"TimeAndSale": layout}
    message = {"type": "FEED_CONFIG", "channel": channel, "eventFields": fields}
    return Frame(5_000, orjson.dumps(message))


def both_ways(layout, *payloads):
    conversation = [config(layout), *(Frame(5_000, payload) for payload in payloads)]
    return Decoder(SCANNER).decode(conversation), Decoder().decode(conversation)


@given(frames())
@example((ALL, head() + b"]]}"))
@example((["eventSymbol", "index", "price"], head() + b'"SPY",1,2.5]]}'))
def test_a_frame_comes_out_the_same_scanned_and_parsed(conversation):
    scanned, parsed = both_ways(*conversation)
    assert told(scanned) == told(parsed)


@pytest.mark.parametrize("name", ALL)
def test_no_odd_value_of_a_field_comes_out_otherwise_when_scanned(name):
    usual = [COMMON[other][0] for other in ALL]
    for odd in [*COMMON[name], *ODD]:
        values = [*usual, *usual]
        values[ALL.index(name)] = odd
        scanned, parsed = both_ways(ALL, head() + ",".join(values).encode() + b"]]}")
        assert told(scanned) == told(parsed), odd


@given(frames(odd=st.nothing()).filter(lambda told: told[0] == ALL), st.data())
def test_a_frame_with_a_wrong_byte_comes_out_the_same_scanned_and_parsed(conversation, data):
    layout, payload = conversation
    at = data.draw(st.integers(0, len(payload)))
    length = data.draw(st.integers(0, 2))
    put = data.draw(
        st.binary(max_size=2) | st.sampled_from([b"]", b",", b'"', b"}", b"0", b".", b" "])
    )
    broken = payload[:at] + put + payload[at + length :]
    scanned, parsed = both_ways(layout, broken)
    assert told(scanned) == told(parsed)


@given(st.lists(frames().map(lambda told: told[1]), max_size=4), st.data())
def test_a_cut_or_joined_frame_never_borrows_from_its_neighbour(payloads, data):
    whole = b"".join(payloads)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=4)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    scanned, parsed = both_ways(ALL, *pieces)
    assert by_symbol(scanned) == by_symbol(parsed)


def by_symbol(parts):
    """The index and price of every print, and whatever else was told, each in order."""
    prints, other = {}, []
    for part in parts:
        if isinstance(part, Rows | Scanned):
            read = read_prints(part)
            other += read.rejects
            for symbol, found in read.by_symbol():
                price = found.columns["price"].view(np.int64).tolist()
                rows = zip(found.index.tolist(), price, strict=True)
                prints.setdefault((part.channel, symbol), []).extend(rows)
        else:
            other.append(part)
    return prints, other


def test_every_price_with_few_digits_is_the_nearest_double():
    mantissas = np.random.default_rng(7).integers(0, 2**53, 3_000)
    told = []
    for place, mantissa in enumerate(mantissas.tolist()):
        digits = str(mantissa).rjust(18, "0")
        point = 1 + place % 17
        told.append(f"{int(digits[:point])}.{digits[point:]}")
    names = ["eventSymbol", "index", "price"]
    payload = head() + ",".join(f'"SPY",1,{word}' for word in told).encode() + b"]]}"
    (rows,) = Decoder(SCANNER).decode([config(names), Frame(1, payload)])
    assert isinstance(rows, Scanned)
    assert rows.values["price"].tolist() == [float(word) for word in told]
