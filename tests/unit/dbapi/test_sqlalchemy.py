"""SQLAlchemy's dialect: what SQLAlchemy, its ORM and pandas do with a grid by it."""

from __future__ import annotations

import datetime as dt
import decimal
import threading
import uuid

import numpy as np
import pytest

import gridflow
from gridflow.kinds import KINDS
from gridflow.server import Node

from ...kind_samples import SAMPLES

sa = pytest.importorskip("sqlalchemy")
orm = pytest.importorskip("sqlalchemy.orm")
from gridflow.dbapi import sqlalchemy as dialect  # noqa: E402  # it needs the above


@pytest.fixture(autouse=True, scope="module")
def registered():
    """As the entry points of an installed Gridflow have it."""
    sa.dialects.registry.register("gridflow", "gridflow.dbapi.sqlalchemy", "GridflowDialect")
    sa.dialects.registry.register("gridflow.tls", "gridflow.dbapi.sqlalchemy", "GridflowTlsDialect")


@pytest.fixture
def engine(home):
    engine = sa.create_engine(f"gridflow://{home}")
    yield engine
    engine.dispose()


class Base(orm.DeclarativeBase):
    pass


class Kitten(Base):
    __tablename__ = "kittens"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    name: orm.Mapped[str] = orm.mapped_column(sa.String(50), index=True)
    weight: orm.Mapped[decimal.Decimal | None] = orm.mapped_column(sa.Numeric(10, 2))
    born: orm.Mapped[dt.datetime | None]
    tag: orm.Mapped[uuid.UUID | None]
    extra: orm.Mapped[dict | None] = orm.mapped_column(sa.JSON)
    order: orm.Mapped[float | None]  # a word of SQL


KITTEN = {
    "name": "WARM",
    "weight": decimal.Decimal("1.50"),
    "born": dt.datetime(2020, 2, 29, 12, 34, 56, 789),
    "tag": uuid.UUID(int=7),
    "extra": {"a": [1, None]},
    "order": 0.5,
}


def test_objects_come_back_as_they_went(engine):
    Base.metadata.create_all(engine)
    Base.metadata.create_all(engine)  # they are there
    with orm.Session(engine) as session:
        session.add_all([Kitten(id=i, **KITTEN) for i in range(5)])
        session.commit()
    with orm.Session(engine) as session:
        kitten = session.get(Kitten, 3)
        assert {name: getattr(kitten, name) for name in KITTEN} == KITTEN
        kitten.name = "SOFT"
        session.delete(session.get(Kitten, 4))
        session.commit()
        names = sa.select(Kitten.name).where(Kitten.id.in_([1, 3, 9])).order_by(Kitten.id.desc())
        assert session.scalars(names).all() == ["SOFT", "WARM"]
        assert session.scalars(names.limit(1).offset(1)).all() == ["WARM"]
        assert session.scalars(names.offset(1)).all() == ["WARM"]
        assert session.scalars(names.where(Kitten.id.in_([]))).all() == []
        assert session.scalar(sa.select(sa.func.sum(Kitten.weight))) == decimal.Decimal("6.00")
        session.rollback()
    assert sa.inspect(engine).get_table_names() == ["kittens"]
    Base.metadata.drop_all(engine)
    assert sa.inspect(engine).get_table_names() == []


def test_an_update_of_a_row_that_is_gone_is_noticed(engine):
    Base.metadata.create_all(engine)
    with orm.Session(engine) as session:
        session.add(Kitten(id=1, name="x"))
        session.commit()
    with orm.Session(engine) as one, orm.Session(engine) as other:
        mine, theirs = one.get(Kitten, 1), other.get(Kitten, 1)
        other.delete(theirs)
        other.commit()
        mine.name = "y"
        with pytest.raises((orm.exc.StaleDataError, sa.exc.OperationalError)):
            one.commit()
        one.rollback()


def test_tables_of_the_grid_are_found(engine, home):
    with gridflow.connect(home) as grid:
        grid.sql("CREATE TABLE KITTENS (ID LONG, \"two words\" VARCHAR DEFAULT 'x', P UINT8[2,2], PRIMARY KEY (ID))")
        grid.sql('CREATE INDEX BY_WORD ON KITTENS ("two words" DESC, ID)')
        grid.sql("INSERT INTO KITTENS (ID) VALUES (1)")
    inspector = sa.inspect(engine)
    for name in ("KITTENS", "kittens"):
        assert inspector.has_table(name) and inspector.has_table(name, schema="PUBLIC")
        assert inspector.get_pk_constraint(name)["constrained_columns"] == ["ID"]
        (index,) = inspector.get_indexes(name)
        assert (index["name"], index["column_names"]) == ("BY_WORD", ["two words", "ID"])
        assert [column["name"] for column in inspector.get_columns(name)] == ["ID", "two words", "P"]
        table = sa.Table(name, sa.MetaData(), autoload_with=engine)
        with engine.connect() as connection:
            row = connection.execute(sa.select(table)).one()
            assert row[0] == 1 and row[1] == "x" and row[2] is None
    assert not inspector.has_table("none") and not inspector.has_table("kittens", schema="other")
    with pytest.raises(sa.exc.NoSuchTableError):
        inspector.get_columns("none")
    assert inspector.get_schema_names() == ["PUBLIC", "SYS"]
    assert "TABLES" in inspector.get_view_names("SYS") and inspector.get_view_names() == []
    views = sa.Table("TABLES", sa.MetaData(), schema="SYS", autoload_with=engine)
    with engine.connect() as connection:
        assert connection.execute(sa.select(views.c.TABLE_NAME)).scalars().all() == ["KITTENS"]
    assert inspector.get_foreign_keys("KITTENS") == inspector.get_unique_constraints("KITTENS") == []


@pytest.mark.parametrize("kind", SAMPLES)
def test_every_type_comes_and_goes(engine, home, kind):
    text, value = SAMPLES[kind]
    with gridflow.connect(home) as grid:
        grid.create_table("T", {"ID": "LONG", "X": text}, key="ID")
    table = sa.Table("T", sa.MetaData(), autoload_with=engine)
    again = table.to_metadata(sa.MetaData(), name="COPY")
    again.create(engine)
    with engine.begin() as connection:
        connection.execute(again.insert(), [{"ID": 1, "X": value}, {"ID": 2, "X": None}])
    with engine.connect() as connection:
        found = connection.execute(sa.select(again.c.X).order_by(again.c.ID)).scalars().all()
    assert np.array_equal(found[0], value) and found[1] is None
    with gridflow.connect(home) as grid:
        kept, made = (grid.table(name).schema["X"].type for name in ("T", "COPY"))
    assert made == kept or (kind, made.kind) in {("INT8", "INT16")}


def test_types_of_sqlalchemy_are_types_of_a_grid(engine, home):
    columns = {
        "a": (sa.Integer, "INT32"),
        "b": (sa.BigInteger, "INT64"),
        "c": (sa.SmallInteger, "INT16"),
        "d": (sa.Float, "FLOAT64"),
        "e": (sa.Float(20), "FLOAT32"),
        "f": (sa.Numeric(12, 3), "DECIMAL(12,3)"),
        "g": (sa.Numeric, "DECIMAL(38,10)"),
        "h": (sa.String(5), "STRING"),
        "i": (sa.Text, "STRING"),
        "j": (sa.LargeBinary, "BINARY"),
        "k": (sa.Boolean, "BOOL"),
        "l": (sa.Date, "DATE"),
        "m": (sa.Time, "TIME"),
        "n": (sa.DateTime, "TIMESTAMP"),
        "o": (sa.DateTime(timezone=True), "TIMESTAMP_TZ"),
        "p": (sa.Uuid, "UUID"),
        "q": (sa.Enum("x", "y", name="xy"), "STRING"),
        "r": (sa.JSON, "STRING"),
        "s": (sa.ARRAY(sa.Integer), "LIST<INT32>"),
        "t": (dialect.Other("UINT8[2,2]"), "UINT8[2,2]"),
        "u": (sa.Double, "FLOAT64"),
        "v": (sa.Unicode(3), "STRING"),
    }
    metadata = sa.MetaData()
    sa.Table(
        "t",
        metadata,
        sa.Column("id", sa.BigInteger, primary_key=True),
        *(sa.Column(n, t) for n, (t, _) in columns.items()),
    )
    metadata.create_all(engine)
    with gridflow.connect(home) as grid:
        schema = grid.table("t").schema
        assert {name: schema[name].type.text() for name in columns} == {n: text for n, (_, text) in columns.items()}


def test_what_a_grid_has_not_is_said_when_the_table_is_made(engine):
    def create(*items, **options):
        sa.Table("t", sa.MetaData(), *items, **options).create(engine)

    key = sa.Column("id", sa.Integer, primary_key=True)
    for items, words in (
        ((sa.Column("a", sa.Integer),), "needs a primary key"),
        ((sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),), "autoincrement is not there"),
        ((key, sa.Column("a", sa.Integer, unique=True)), "unique constraints"),
    ):
        with pytest.raises(sa.exc.CompileError, match=words):
            create(*items)
    with pytest.raises(sa.exc.CompileError, match="no unique indexes"):
        create(sa.Column("id", sa.Integer, primary_key=True), sa.Column("a", sa.Integer, index=True, unique=True))


def test_foreign_keys_and_checks_are_warned_of(engine):
    metadata = sa.MetaData()
    sa.Table("a", metadata, sa.Column("id", sa.Integer, primary_key=True))
    sa.Table("b", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("a_id", sa.ForeignKey("a.id")))
    sa.Table("c", metadata, sa.Column("id", sa.Integer, sa.CheckConstraint("id > 0"), primary_key=True))
    with pytest.warns(sa.exc.SAWarning, match="foreign keys are not kept") as warned:
        metadata.create_all(engine)
    assert any("checks are not kept" in str(one.message) for one in warned)
    assert sorted(sa.inspect(engine).get_table_names()) == ["a", "b", "c"]


def test_options_of_a_table(engine, home):
    sa.Table("t", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True), gridflow_with="partitions=7").create(
        engine
    )
    with gridflow.connect(home) as grid:
        assert grid.table("t").partitions_count == 7


def test_isolation_levels(engine):
    Base.metadata.create_all(engine)
    with engine.connect() as reader, engine.connect() as writer:
        assert reader.get_isolation_level() == "SNAPSHOT"
        count = sa.select(sa.func.count()).select_from(Kitten)
        assert reader.scalar(count) == 0
        writer.execute(sa.insert(Kitten), [{"id": 1, "name": "x"}, {"id": 2, "name": "y"}])
        writer.commit()
        assert reader.scalar(count) == 0
        reader.rollback()
        assert reader.scalar(count) == 2
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        assert connection.get_isolation_level() == "AUTOCOMMIT"
        assert connection.execute(sa.delete(Kitten)).rowcount == 2
    with engine.connect() as connection:
        assert connection.get_isolation_level() == "SNAPSHOT" and connection.scalar(count) == 0


def test_errors_are_those_of_pep_249(engine):
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(sa.insert(Kitten), {"id": 1, "name": "x"})
    for statement, kind in (
        (sa.insert(Kitten).values(id=1, name="y"), sa.exc.IntegrityError),
        (sa.insert(Kitten).values(id=2, name=None), sa.exc.DataError),
        (sa.text("SELECT * FROM none"), sa.exc.ProgrammingError),
    ):
        with engine.connect() as connection, pytest.raises(kind):
            connection.execute(statement)
    with engine.connect() as connection, pytest.raises(sa.exc.CompileError, match="RETURNING"):
        connection.execute(sa.insert(Kitten).values(id=3, name="z").returning(Kitten.id))


def test_names_of_one_statement_do_not_reach_another(engine):
    """What CREATE TABLE quotes is quoted there alone, with threads beside it, too."""
    tables = [sa.Table(f"t{i}", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True)) for i in range(40)]
    threads = [threading.Thread(target=lambda t=t: sa.schema.CreateTable(t).compile(engine)) for t in tables]
    for thread in threads:
        thread.start()
    texts = [str(sa.select(table).compile(engine)) for table in tables]
    for thread in threads:
        thread.join()
    assert texts == [f"SELECT t{i}.id \nFROM t{i}" for i in range(40)]
    assert 'CREATE TABLE "t1"' in str(sa.schema.CreateTable(tables[1]).compile(engine))


@pytest.mark.parametrize(
    ("url", "home", "options"),
    [
        ("gridflow://", None, {}),
        ("gridflow:///data/grid", "/data/grid", {}),
        ("gridflow:////data/grid", "/data/grid", {}),
        ("gridflow:///data/grid?read_only=true&timeout=5", "/data/grid", {"read_only": True, "timeout": 5.0}),
        ("gridflow://box:10850", "grid://box:10850", {}),
        ("gridflow://[::1]:10850", "grid://[::1]:10850", {}),
        ("gridflow+tls://KATE:a%40b@box", "grid+tls://box", {"user": "KATE", "password": "a@b"}),
    ],
)
def test_urls(url, home, options):
    url = sa.make_url(url)
    found = url.get_dialect()().create_connect_args(url)
    assert found == ([home], options)
    assert "a@b" not in str(found[0]) and "a%40b" not in repr(url)


def test_frames(engine):
    pandas = pytest.importorskip("pandas")
    times = pandas.to_datetime(["2020-01-01", "2021-01-01"])
    frame = pandas.DataFrame({"a": [1, 2], "B": ["x", None], "c d": [1.5, None], "t": times})
    frame.to_sql("frame", engine)
    found = pandas.read_sql_table("frame", engine, index_col="index")
    assert found["a"].tolist() == [1, 2] and list(found.columns) == list(frame.columns)
    assert pandas.read_sql('SELECT a, "c d" FROM frame WHERE a > ?', engine, params=(1,))["a"].tolist() == [2]
    frame.to_sql("frame", engine, if_exists="replace")
    frame.index += 2
    frame.to_sql("frame", engine, if_exists="append")
    assert len(pandas.read_sql("frame", engine)) == 4
    with pytest.raises(sa.exc.CompileError, match="index=True"):
        frame.to_sql("other", engine, index=False)
    frame.set_index("a").to_sql("keyed", engine)
    assert sa.inspect(engine).get_pk_constraint("keyed")["constrained_columns"] == ["a"]


def test_a_node_is_reached_as_a_user_of_it(home):
    with Node(home, listen=["grid://127.0.0.1:0"]) as node:
        node.grid.sql("CREATE USER KATE WITH PASSWORD 'a@b'; GRANT READER TO KATE")
        place = f"127.0.0.1:{node.endpoints[-1].port}"
        own = sa.create_engine(f"gridflow://{place}")  # the grid's own user, as on its machine
        Base.metadata.create_all(own)
        with orm.Session(own) as session:
            session.add(Kitten(id=1, **KITTEN))
            session.commit()
        kate = sa.create_engine(f"gridflow://KATE:a%40b@{place}")
        with orm.Session(kate) as session:
            assert session.get(Kitten, 1).extra == KITTEN["extra"]
            session.add(Kitten(id=2, name="no"))
            with pytest.raises(sa.exc.OperationalError, match="INSERT ON kittens"):
                session.commit()
        with pytest.raises(sa.exc.OperationalError, match="another password") as caught:
            sa.create_engine(f"gridflow://KATE:wrong@{place}").connect()
        assert "wrong" not in str(caught.value)
        for engine in (own, kate):
            engine.dispose()
        assert len(node.grid.table("kittens")) == 1


def test_every_kind_has_a_type():
    assert set(dialect._TYPES) == set(KINDS)
