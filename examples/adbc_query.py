"""SQL through ADBC's Flight SQL driver: parameters, frames, and the tables there are."""

import os

import polars as pl
from adbc_driver_flightsql import DatabaseOptions, dbapi

url = os.environ.get("TICKFLIGHT_URL", "grpc://127.0.0.1:8815")
key = {DatabaseOptions.AUTHORIZATION_HEADER.value: "Bearer " + os.environ["TICKFLIGHT_KEY"]}

with dbapi.connect(url, db_kwargs=key, autocommit=True) as connection:
    sql = "SELECT symbol, count(*) AS trades FROM ticks WHERE price > ? GROUP BY 1 ORDER BY 1"
    with connection.cursor() as cursor:
        cursor.execute(sql, [0.0])
        print(cursor.fetch_polars())
    print(pl.read_database("SELECT * FROM trades LIMIT 3", connection))
    print(connection.adbc_get_table_schema("quotes").names)
