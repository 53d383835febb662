from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.errors import SettingsError
from core.settings import SECRETS, SETTINGS, load_settings

NOWHERE = Path("/nonexistent/.env")


def load(overrides=None, *, environ=None, env_file=NOWHERE):
    return load_settings(overrides, environ=environ or {}, env_file=env_file)


def faults(**environ):
    with pytest.raises(SettingsError) as caught:
        load(environ=environ)
    return caught.value.message.splitlines()


def test_every_setting_has_a_default_that_parses():
    settings = load()
    assert set(settings.values) == {setting.name for setting in SETTINGS}
    assert settings.words("TASTYTRADE_SYMBOLS") == ("MES", "MNQ", "NQ", "SPY", "QQQ", "VIX")
    assert settings.number("FLIGHT_PORT") == 8815
    assert settings.number("MEMORY_LIMIT") == 2_000_000_000
    assert settings.text("HOST") == "127.0.0.1"


def test_every_setting_says_what_it_is_for_in_one_line():
    for setting in SETTINGS:
        assert 0 < len(setting.help) <= 90, setting.name
        assert "\n" not in setting.help, setting.name


def test_command_line_wins_over_environment_over_file_over_default(tmp_path):
    env_file = tmp_path / ".env"
    env_file.write_text("COMMIT_MS=1\nHOT_MINUTES=2\nSQL_SECONDS=3\n")
    settings = load_settings(
        {"COMMIT_MS": "10"}, environ={"COMMIT_MS": "5", "HOT_MINUTES": "6"}, env_file=env_file
    )
    assert settings.number("COMMIT_MS") == 10
    assert settings.number("HOT_MINUTES") == 6
    assert settings.number("SQL_SECONDS") == 3
    assert settings.number("RETENTION_DAYS") == 365


def test_an_empty_value_means_the_default():
    assert load(environ={"FLIGHT_PORT": ""}).number("FLIGHT_PORT") == 8815


def test_all_faults_are_told_together():
    lines = faults(FLIGHT_PORT="many", HOT_MINUTES="0", MEMORY_LIMIT="4 elephants")
    assert [line.split("=")[0] for line in lines] == ["HOT_MINUTES", "MEMORY_LIMIT", "FLIGHT_PORT"]
    assert "expected 1 to 1440, found 0" in lines[0]


def test_contradictions_are_told_beside_malformed_values():
    told = faults(HOT_MINUTES="x", HOST="0.0.0.0", TASTYTRADE_CLIENT_SECRET="only")
    assert "HOT_MINUTES='x': expected a whole number" in told[0]
    assert any("without TLS_CERT" in line for line in told)
    assert any("REFRESH_TOKEN: give both or neither" in line for line in told)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TASTYTRADE_SYMBOLS", "MNQ,b@d"),
        ("GEXBOT_TICKERS", ";;"),
        ("TASTYTRADE_SYMBOLS", ",,"),
        ("TASTYTRADE_API_URL", "api.tastyworks.com"),
        ("GEXBOT_BASE_URL", "https://"),
        ("MEMORY_LIMIT", "1KB"),
    ],
)
def test_a_value_that_could_never_work_is_refused_at_once(name, value):
    (told,) = faults(**{name: value})
    assert told.startswith(f"{name}={value!r}: expected ")


def test_symbols_may_be_written_in_small_letters():
    settings = load(environ={"TASTYTRADE_SYMBOLS": "mnq, Spy"})
    assert settings.words("TASTYTRADE_SYMBOLS") == ("MNQ", "SPY")


def test_a_line_of_the_file_that_sets_nothing_is_a_fault(tmp_path):
    env_file = tmp_path / ".env"
    env_file.write_text("COMMIT_MS=1\nthis is no line\nHOT_MINUTES=2\n")
    with pytest.raises(SettingsError, match="line 2: expected NAME=value"):
        load(env_file=env_file)


def test_an_unknown_name_in_the_file_is_a_fault_that_names_the_nearest(tmp_path):
    env_file = tmp_path / ".env"
    env_file.write_text("FLIGHT_PROT=8815\n")
    with pytest.raises(SettingsError, match=r"FLIGHT_PROT.*did you mean FLIGHT_PORT\?"):
        load(env_file=env_file)


def test_other_programs_variables_in_the_environment_are_no_fault():
    assert load(environ={"EDITOR": "vi", "FLIGHT_PROT": "1"}).number("FLIGHT_PORT") == 8815


def test_listening_beyond_loopback_needs_a_certificate():
    assert "loopback" in faults(HOST="0.0.0.0")[0]
    settings = load(
        environ={"HOST": "0.0.0.0", "TLS_CERT": "a.pem", "TLS_KEY": "b.pem", "WEBHOOK_TOKEN": "t"}
    )
    assert settings.text("HOST") == "0.0.0.0"


def test_a_certificate_without_its_key_is_a_fault():
    assert faults(TLS_CERT="a.pem") == ["TLS_CERT and TLS_KEY: give both or neither"]


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_a_secret_never_shows_in_the_settings_words(name):
    paired = ("TASTYTRADE", "AWS")
    given = {secret: "hunter2" for secret in SECRETS if secret.startswith(paired)}
    given[name] = "redis://:hunter2@host" if name == "REDIS_URL" else "hunter2"
    assert "hunter2" not in repr(load(environ=given))
    assert "hunter2" not in str(load(environ=given))


def test_an_address_that_is_none_of_redis_is_refused_without_its_password():
    with pytest.raises(SettingsError, match="rediss://HOST:PORT") as refused:
        load(environ={"REDIS_URL": "http://:hunter2@host"})
    assert "hunter2" not in refused.value.message


def test_the_lake_is_below_the_data_folder_unless_told_otherwise(tmp_path):
    settings = load({"DATA_DIR": str(tmp_path)})
    assert settings.lake_url == str(tmp_path / "lake")
    assert load({"LAKE_URL": "s3://tape"}).lake_url == "s3://tape"
    assert load({"LAKE_URL": "s3://tape/prod/mnq/"}).lake_url == "s3://tape/prod/mnq"


@pytest.mark.parametrize(
    "url",
    [
        "gs://tape/lake",
        "s3://",
        "s3:///lake",
        "s3://key:hunter2@tape/lake",
        "s3://tape/a?token=hunter2@",
        "s3://tape/../other",
        "s3://tape/a b",
    ],
)
def test_an_address_that_can_be_no_bucket_is_refused_without_what_may_be_a_key(url):
    told = faults(LAKE_URL=url)[0]
    assert "s3://BUCKET/PREFIX" in told
    assert "hunter2" not in told


def test_half_a_key_of_the_bucket_is_a_fault():
    assert faults(AWS_ACCESS_KEY_ID="K") == [
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY: give both or neither"
    ]


def test_an_empty_key_is_not_handed_to_a_child_as_one():
    assert "AWS_SESSION_TOKEN" not in load().as_env()
    key = {"AWS_ACCESS_KEY_ID": "K", "AWS_SECRET_ACCESS_KEY": "S"}
    assert load(environ=key).as_env().items() >= key.items()


def test_the_data_folder_is_absolute():
    assert load({"DATA_DIR": "data"}).data_dir == Path.cwd() / "data"


def test_settings_survive_the_way_to_a_child_process():
    given_settings = load(environ={"TASTYTRADE_SYMBOLS": "MNQ, SPY", "MEMORY_LIMIT": "512MiB"})
    assert load(environ=given_settings.as_env()).values == given_settings.values


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("1", 1), ("4GB", 4 * 10**9), ("1.5KB", 1_500), ("512MiB", 512 * 2**20), ("2gib", 2**31)],
)
def test_sizes_read_with_their_units(text, size_bytes):
    assert load(environ={"RESULT_BYTES": text}).number("RESULT_BYTES") == size_bytes


@example("inf")
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20))
def test_any_size_is_read_or_refused_as_a_settings_fault(text):
    try:
        settings = load(environ={"RESULT_BYTES": text})
    except SettingsError:
        return
    assert isinstance(settings.number("RESULT_BYTES"), int)


@pytest.mark.parametrize("name", [s.name for s in SETTINGS if s.default.isdigit()])
def test_numbers_refuse_what_is_not_a_number(name):
    (fault,) = faults(**{name: "1e9x"})
    assert fault.startswith(f"{name}='1e9x'")
