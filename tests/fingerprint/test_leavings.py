"""Leavings: what libraries put on the user's classes and functions is not the user's."""

from __future__ import annotations

import pytest

from tests.fingerprint.conftest import World

# claim -> (library, text, texts of which each is to be edited); `f` is what is fingerprinted.
MADE: dict[str, tuple[str, str, list[tuple[str, str]]]] = {
    "pydantic class": (
        "pydantic",
        r"""
        from typing import Annotated, Optional, ClassVar
        from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr
        from pydantic import computed_field, field_serializer, field_validator, model_validator
        LIMIT = 41
        def make(): return 42
        def clean(v): return v + 43
        class Inner(BaseModel):
            z: int = 44
        class M(BaseModel):
            model_config = ConfigDict(str_max_length=45)
            a: int = 11
            b: Annotated[int, Field(gt=12)] = 50
            c: list = Field(default_factory=make)
            d: int = LIMIT
            e: Annotated[int, AfterValidator(clean)] = 1
            g: Optional[Inner] = None
            K: ClassVar[int] = 13
            _p: int = PrivateAttr(default=14)
            @field_validator("a")
            @classmethod
            def check(cls, v): return v + 15
            @model_validator(mode="after")
            def whole(self): return self if 16 else None
            @computed_field
            @property
            def twice(self) -> int: return self.a * 17
            @field_serializer("a")
            def ser(self, v): return 18
            def plain(self): return 19
        class Sub(M):
            h: int = 20
        m = Sub(a=21)
        def f(): return Sub(a=1)
        """,
        [
            ("41", "97"),
            ("42", "97"),
            ("43", "97"),
            ("44", "97"),
            ("45", "97"),
            ("11", "97"),
            ("12", "97"),
            ("13", "97"),
            ("14", "97"),
            ("15", "97"),
            ("16", "97"),
            ("17", "97"),
            ("18", "97"),
            ("19", "97"),
            ("20", "97"),
        ],
    ),
    "pydantic alias/mode": (
        "pydantic",
        r"""
        from typing import Annotated, Optional, ClassVar
        from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr
        from pydantic import computed_field, field_serializer, field_validator, model_validator
        LIMIT = 41
        def make(): return 42
        def clean(v): return v + 43
        class Inner(BaseModel):
            z: int = 44
        class M(BaseModel):
            model_config = ConfigDict(str_max_length=45)
            a: int = 11
            b: Annotated[int, Field(gt=12)] = 50
            c: list = Field(default_factory=make)
            d: int = LIMIT
            e: Annotated[int, AfterValidator(clean)] = 1
            g: Optional[Inner] = None
            K: ClassVar[int] = 13
            _p: int = PrivateAttr(default=14)
            @field_validator("a")
            @classmethod
            def check(cls, v): return v + 15
            @model_validator(mode="after")
            def whole(self): return self if 16 else None
            @computed_field
            @property
            def twice(self) -> int: return self.a * 17
            @field_serializer("a")
            def ser(self, v): return 18
            def plain(self): return 19
        class Sub(M):
            h: int = 20
        m = Sub(a=21)
        def f(): return Sub(a=1)
        """,
        [('mode="after"', 'mode="before"'), ("gt=", "ge="), ("a: int = 11", "a: float = 11")],
    ),
    "pydantic create_model": (
        "pydantic",
        r"""
        from pydantic import create_model, Field
        M=create_model('M',x=(int,Field(default=11,gt=3)))
        def f(): return M()
        """,
        [("11", "12"), ("gt=3", "gt=4")],
    ),
    "pydantic dataclass": (
        "pydantic",
        r"""
        from pydantic.dataclasses import dataclass
        from pydantic import field_validator
        @dataclass
        class M:
         x:int=11
         @field_validator('x')
         @classmethod
         def v(cls,x): return 21
        m=M()
        def f(): return M(), m
        """,
        [("11", "12"), ("21", "22")],
    ),
    "pydantic generic": (
        "pydantic",
        r"""
        from typing import Generic,TypeVar
        from pydantic import BaseModel
        T=TypeVar('T')
        class G(BaseModel,Generic[T]):
         x:T
         y:int=11
        g=G[int](x=1)
        def f(): return G[int](x=1), g
        """,
        [("11", "12")],
    ),
    "pydantic validate_call": (
        "pydantic",
        r"""
        from pydantic import validate_call
        @validate_call
        def g(x:int)->int: return 11
        def f(): return g(1)
        """,
        [("11", "12")],
    ),
    "pydantic registry decorator": (
        "pydantic",
        r"""
        from pydantic import BaseModel
        def mark(c):
         c.limit=11
         return c
        @mark
        class M(BaseModel):
         x:int=1
        def f(): return M.limit
        """,
        [("11", "12")],
    ),
    "attrs define": (
        "attrs",
        r"""
        import attrs
        def pos(i,a,v):
         if v<31: raise ValueError
        def fac(): return 32
        @attrs.define
        class A:
         x:int=attrs.field(default=11,validator=pos)
         y:list=attrs.field(factory=fac)
         z:int=attrs.field(default=1,validator=[attrs.validators.lt(330)],converter=lambda v:v+34)
         def m(self): return 21
         @x.validator
         def vx(self,a,v): assert v!=35
        a=A(99,z=1)
        def f(): return A(1).m(), a
        """,
        [
            ("11", "57"),
            ("21", "57"),
            ("32", "57"),
            ("33", "57"),
            ("34", "57"),
            ("35", "57"),
            ("99", "98"),
        ],
    ),
    "attr.s": (
        "attr",
        r"""
        import attr
        @attr.s(auto_attribs=True,frozen=True)
        class A:
         x:int=11
         y:int=attr.ib(default=21)
        def f(): return A()
        """,
        [("11", "12"), ("21", "22"), ("frozen=True", "frozen=False")],
    ),
    "sqlalchemy 2": (
        "sqlalchemy",
        r"""
        from sqlalchemy import Column, Integer, String, Table, MetaData, ForeignKey, select
        from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
        from sqlalchemy.ext.hybrid import hybrid_property
        def dflt(): return 31
        class Base(DeclarativeBase): pass
        class User(Base):
            __tablename__ = 'users'
            id: Mapped[int] = mapped_column(primary_key=True)
            name: Mapped[str] = mapped_column(String(11), default=dflt)
            posts: Mapped[list['Post']] = relationship(back_populates='user')
            @hybrid_property
            def full(self): return self.name * 13
            def m(self): return 14
        class Post(Base):
            __tablename__ = 'posts'
            id: Mapped[int] = mapped_column(primary_key=True)
            user_id: Mapped[int] = mapped_column(ForeignKey('users.id'))
            user: Mapped[User] = relationship(back_populates='posts')
        def f(): return User(name='x'), select(User)
        """,
        [
            ("31", "32"),
            ("String(11)", "String(12)"),
            ("13", "17"),
            ("14", "15"),
            ("'users'\n", "'users2'\n"),
        ],
    ),
    "sqlalchemy classic": (
        "sqlalchemy",
        r"""
        from sqlalchemy import Column,Integer,String
        from sqlalchemy.orm import declarative_base
        Base=declarative_base()
        class U(Base):
         __tablename__='u'
         id=Column(Integer,primary_key=True)
         n=Column(String(11))
         def m(self): return 21
        def f(): return U()
        """,
        [("11", "12"), ("21", "22")],
    ),
    "sqlalchemy table": (
        "sqlalchemy",
        r"""
        import sqlalchemy as sa
        md=sa.MetaData()
        t=sa.Table('t',md,sa.Column('x',sa.Integer,default=11))
        def f(): return t.select()
        """,
        [("11", "12"), ("Integer", "String")],
    ),
    "msgspec": (
        "msgspec",
        r"""
        import msgspec
        from typing import Annotated
        def mk(): return 31
        class A(msgspec.Struct,frozen=True):
         x:int=11
         y:Annotated[int,msgspec.Meta(gt=12)]=20
         z:list=msgspec.field(default_factory=mk)
         def m(self): return 21
        a=A(5)
        def f(): return A().m(),a
        """,
        [("11", "13"), ("gt=12", "gt=13"), ("31", "32"), ("21", "22"), ("A(5)", "A(6)")],
    ),
    "beartype": (
        "beartype",
        r"""
        from beartype import beartype
        @beartype
        def g(x:int,y:list[int])->int: return 11
        def f(): return g(1,[2])
        """,
        [("11", "12"), ("x:int", "x:str")],
    ),
    "typeguard": (
        "typeguard",
        r"""
        from typeguard import typechecked
        @typechecked
        def g(x:int)->int: return 11
        def f(): return g(1)
        """,
        [("11", "12")],
    ),
    "cattrs": (
        "cattrs",
        r"""
        import cattrs,attrs
        @attrs.define
        class A:
         x:int=11
        c=cattrs.Converter()
        c.register_structure_hook(A,lambda v,t:A(21))
        def f(): return c.structure({},A)
        """,
        [("11", "12"), ("21", "22")],
    ),
    "marshmallow": (
        "marshmallow",
        r"""
        from marshmallow import Schema,fields,validates,post_load
        class S(Schema):
         x=fields.Int(load_default=11)
         @validates('x')
         def v(self,value,**k): return 21
         @post_load
         def p(self,d,**k): return 31
        def f(): return S().load({})
        """,
        [("11", "12"), ("21", "22"), ("31", "32")],
    ),
    "traitlets": (
        "traitlets",
        r"""
        import traitlets as t
        class T(t.HasTraits):
         x=t.Int(11)
         @t.default('y')
         def _y(self): return 21
         y=t.Int()
         @t.observe('x')
         def o(self,c): return 31
        def f(): return T().x
        """,
        [("11", "12"), ("21", "22"), ("31", "32")],
    ),
    "typer": (
        "typer",
        r"""
        import typer
        app=typer.Typer()
        @app.command()
        def go(x:int=11): return 21
        def f(): return app()
        """,
        [("11", "12"), ("21", "22")],
    ),
    "numba args": (
        "numba",
        r"""
        import numba
        @numba.njit(fastmath=True)
        def g(x): return 11
        def f(): return g(1)
        """,
        [("11", "12"), ("True", "False")],
    ),
    "dask delayed": (
        "dask",
        r"""
        import dask
        @dask.delayed
        def g(x): return 11
        def f(): return g(1)
        """,
        [("11", "12")],
    ),
    "joblib memory": (
        "joblib",
        r"""
        import joblib
        m=joblib.Memory(None,verbose=0)
        @m.cache
        def g(x): return 11
        def f(): return g(1)
        """,
        [("11", "12")],
    ),
    "tenacity": (
        "tenacity",
        r"""
        import tenacity
        @tenacity.retry(stop=tenacity.stop_after_attempt(3))
        def g(): return 11
        def f(): return g()
        """,
        [("11", "12"), ("attempt(3)", "attempt(4)")],
    ),
    "sklearn est": (
        "sklearn",
        r"""
        from sklearn.base import BaseEstimator,ClassifierMixin
        class E(ClassifierMixin,BaseEstimator):
         k=11
         def __init__(self,a=21): self.a=a
         def fit(self,X,y,sample_weight=None): return 31
        e=E()
        def f(): return E().fit(1,2), e
        """,
        [("11", "12"), ("21", "22"), ("31", "32")],
    ),
    "pandas subclass": (
        "pandas",
        r"""
        import pandas as pd
        class D(pd.DataFrame):
         _metadata=['a11']
         @property
         def _constructor(self): return D
         def m(self): return 21
        def f(): return D().m()
        """,
        [("a11", "a12"), ("21", "22")],
    ),
    "dataclass slots": (
        "dataclasses",
        r"""
        import dataclasses
        @dataclasses.dataclass(slots=True)
        class A:
         x:int=11
         y:list=dataclasses.field(default_factory=lambda:[21])
         def __post_init__(self): self.x+=31
        a=A()
        def f(): return A(),a
        """,
        [("11", "12"), ("21", "22"), ("31", "32")],
    ),
    "protocol": (
        "typing",
        r"""
        import typing
        @typing.runtime_checkable
        class P(typing.Protocol):
         x:int
         def m(self): return 11
        class A(P):
         x=21
        def f(): return A().m(), isinstance(1,P)
        """,
        [("11", "12"), ("21", "22")],
    ),
    "total_ordering": (
        "functools",
        r"""
        import functools
        @functools.total_ordering
        class A:
         def __lt__(self,o): return 11
         def __eq__(self,o): return 21
        def f(): return A()<A()
        """,
        [("11", "12"), ("21", "22")],
    ),
    "django-like": (
        "abc",
        r"""
        class Field:
         def __init__(s,d): s.d=d
        class Meta(type):
         reg={}
         def __new__(m,n,b,d):
          c=super().__new__(m,n,b,d)
          c._fields={k:v for k,v in d.items() if isinstance(v,Field)}
          m.reg[n]=c
          return c
        class A(metaclass=Meta):
         x=Field(11)
         def m(self): return 21
        def f(): return A().m()
        """,
        [("11", "12"), ("21", "22")],
    ),
    "namedtuple cls": (
        "typing",
        r"""
        import typing
        class A(typing.NamedTuple):
         x:int=11
         y:str='b'
         def m(self): return 21
        a=A()
        def f(): return A().m(),a
        """,
        [("11", "12"), ("21", "22"), ("x:int", "x:float")],
    ),
    "typeddict cls": (
        "typing",
        r"""
        import typing
        class A(typing.TypedDict,total=False):
         x:int
        def f(): return A(x=1)
        """,
        [("x:int", "x:float"), ("False", "True")],
    ),
    "generic": (
        "typing",
        r"""
        import typing
        T=typing.TypeVar('T',bound=int)
        class A(typing.Generic[T]):
         k=11
         def m(self)->T: return 21
        def f(): return A[int]().m()
        """,
        [("11", "12"), ("21", "22")],
    ),
}


@pytest.mark.parametrize("claim", MADE)
def test_what_the_user_wrote_counts_and_nothing_else(world: World, claim: str) -> None:
    library, text, edits = MADE[claim]
    pytest.importorskip(library)
    world.write(main=text)
    before, again = world.look(), world.look()
    assert before.error is None, before.reason
    assert before.value == again.value, "it differs in each process"
    for old, new in edits:
        assert old in text
        world.write(main=text.replace(old, new))
        assert world.look().value != before.value, f"{old} -> {new}"


def test_another_model_does_not_count(world: World) -> None:
    pytest.importorskip("pydantic")
    text = "from pydantic import BaseModel\nclass M(BaseModel):\n x: int = 1\n"
    text += "class Other(BaseModel):\n y: int = 11\ndef f(): return M()"
    before, after = world.both({"main.py": text}, {"main.py": text.replace("11", "12")})
    assert before.error is None, before.reason
    assert before.value == after.value


# As `protoc` writes it, but for the check of the version.
MESSAGE = """
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
FILE = descriptor_pb2.FileDescriptorProto(name="m.proto", package="p")
FILE.message_type.add(name="Msg").field.add(name="x", number=1, type=5, label=1)
DESCRIPTOR = descriptor_pool.Default().AddSerializedFile(FILE.SerializeToString())
globals()["Msg"] = message_factory.GetMessageClass(
    descriptor_pool.Default().FindMessageTypeByName("p.Msg")
)
Msg.__module__ = __name__
"""


def test_an_edit_of_a_message_counts(world: World) -> None:
    pytest.importorskip("google.protobuf")
    main = "import m_pb2\ndef f(): return m_pb2.Msg(x=1)"
    world.write(main=main, m_pb2=MESSAGE)
    before, again = world.look(), world.look()
    assert before.error is None, before.reason
    assert before.value == again.value
    world.write(m_pb2=MESSAGE.replace("type=5", "type=3"))
    assert world.look().value != before.value
