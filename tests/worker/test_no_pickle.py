"""No app starts that would unpickle what it reads."""

import asyncio

import faust
import pytest

from streamrec.core.errors import UserError
from streamrec.worker.app import App, make_app, refuse_pickle
from streamrec.worker.run import serve
from streamrec.worker.table import ByteTable

pytestmark = pytest.mark.filterwarnings("ignore")  # of Faust, about what we plant
CONNECTION = {"bootstrap_servers": "127.0.0.1:1"}


def app() -> App:
    made = make_app("no-pickle", CONNECTION)
    ByteTable(made, changelog="table", is_ahead=lambda held, read: True, connection=CONNECTION)
    raw = faust.Schema(key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")
    made.topics.add(made.topic("in", schema=raw))
    return made


def test_what_we_make_reads_bytes() -> None:
    refuse_pickle(app())


def test_an_app_a_topic_or_a_table_that_would_unpickle_is_refused() -> None:
    bad = app()
    bad.conf.value_serializer = "pickle"
    with pytest.raises(UserError, match="the app is told to unpickle"):
        refuse_pickle(bad)
    bad = app()
    bad.topics.add(bad.topic("poison", value_serializer="json|pickle"))
    with pytest.raises(UserError, match="topic poison is told to unpickle"):
        refuse_pickle(bad)
    bad = app()
    bad.Table("counts").value_serializer = "pickle"
    with pytest.raises(UserError, match="counts"):
        refuse_pickle(bad)


def test_it_is_refused_at_start() -> None:
    bad = app()
    bad.conf.key_serializer = "pickle"
    with pytest.raises(UserError, match="unpickle"):
        asyncio.run(serve([bad]))
