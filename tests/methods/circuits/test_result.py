"""What circuits say of themselves."""

import json

import numpy as np
import pytest
from random_models import random_model

from mechbp.errors import InputError
from mechbp.methods.circuits.circuit import circuits


@pytest.fixture(scope="module")
def found():
    return circuits(random_model(), key_positions=[0, 1, 2], query_positions=[3, 4])


@pytest.fixture(scope="module")
def apart():
    return circuits(random_model(), variant="per position", key_positions=[2, 0], query_positions=[4, 2, 3], tokens=[5, 1])


def test_tables_hold_every_entry(found, apart):
    frame = found.to_dataframe()
    assert len(frame) == 2 * 6 * 7 + 2 * 6 * 6 + 6 * 7
    entries = frame.set_index(["circuit", "head", "query_position", "key_position", "row", "column"])["value"]
    assert entries["ov", 1, -1, -1, 4, 6] == found.ov[1, 4, 6] and entries["qk", 1, -1, -1, 5, 2] == found.qk[1, 5, 2]
    assert entries["direct", -1, -1, -1, 3, 0] == found.direct[3, 0]
    entries = apart.to_dataframe().set_index(["circuit", "head", "query_position", "key_position", "row", "column"])["value"]
    assert len(entries) == 2 * 2 * 2 * 7 + 2 * 3 * 2 * 2 * 2 + 2 * 7
    assert entries["ov", 0, -1, 0, 5, 3] == apart.ov[0, 1, 0, 3]
    assert entries["qk", 1, 2, 0, 1, 5] == apart.qk[1, 1, 1, 1, 0]
    assert entries["direct", -1, -1, -1, 1, 2] == apart.direct[1, 2]


def test_json_holds_everything(found):
    plain = json.loads(json.dumps(found.to_dict()))
    for name in ("ov", "qk", "direct", "tokens"):
        np.testing.assert_array_equal(plain[name], getattr(found, name))
    assert plain["variant"] == "mean position" and plain["key_positions"] == [0, 1, 2] and plain["query_positions"] == [3, 4]
    assert circuits(random_model(), variant="raw").to_dict()["key_positions"] is None


def test_summary_says_what_was_computed(found):
    text = found.summary()
    named = found.ov[1, np.arange(6), np.arange(6)]
    largest = (named == found.ov[1].max(axis=1)).mean()
    smallest = (named == found.ov[1].min(axis=1)).mean()
    assert "circuits of block 0, mean position: 2 heads, 6 tokens, 7 outputs" in text
    assert "positions of keys: 0..2\npositions of queries: 3, 4" in text
    assert f"QK {np.sqrt((found.qk[1] ** 2).mean()):.3g}; OV of a token for itself {named.mean():.3g} on average" in text
    assert f"the row's largest for {largest:.0%}, its smallest for {smallest:.0%}" in text.splitlines()[-1]
    assert repr(found) == "Circuits(mean position, layer=0, 2 heads, 6 tokens, 7 outputs)"
    assert found._repr_html_().startswith(f"<pre>{text.replace(chr(39), '&#x27;')}</pre>")


def test_summary_of_tokens_that_are_no_outputs():
    some = circuits(random_model(d_vocab=9), tokens=[8, 1])  # 7 outputs
    assert f"OV of a token for itself {some.ov[0, 1, 1]:.3g} on average" in some.summary()
    assert "OV of a token for itself" not in circuits(random_model(d_vocab=9), tokens=[7, 8]).summary()


def test_one_pair_of_positions(found, apart):
    one = apart.at(3, 0)
    np.testing.assert_array_equal(one.ov, apart.ov[:, 1])
    np.testing.assert_array_equal(one.qk, apart.qk[:, 2, 1])
    assert one.key_positions == (0,) and one.query_positions == (3,)
    for pair in ((0, 0), (3, 4)):
        with pytest.raises(InputError, match=r"must be among \[4, 2, 3\],\nkey position . among \[2, 0\]"):
            apart.at(*pair)
    for several in (found, one):
        with pytest.raises(InputError, match="at one pair of positions or none"):
            several.at(3, 0)


def test_plots_show_the_maps(found, apart):
    ov = found.plot()
    assert len(ov.data) == 2
    np.testing.assert_allclose(ov.data[1].z, found.ov[1], rtol=1e-5)
    assert list(ov.data[0].x) == [str(i) for i in range(7)] and list(ov.data[0].y) == [str(i) for i in range(6)]
    np.testing.assert_allclose([ov.layout.coloraxis.cmax, -ov.layout.coloraxis.cmin], abs(found.ov).max(), rtol=1e-5)
    qk = found.plot("qk")
    np.testing.assert_allclose(qk.data[0].z, found.qk[0], rtol=1e-5)
    np.testing.assert_allclose(qk.layout.coloraxis.cmax, abs(found.qk).max(), rtol=1e-5)
    assert found.picture().data["column_title"] == "output" and found.picture("qk").data["row_title"] == "query"
    one = found.plot("qk", head=1)
    np.testing.assert_allclose(one.data[0].z, found.qk[1], rtol=1e-5)
    np.testing.assert_allclose(found.plot("direct").data[0].z, found.direct, rtol=1e-5)
    assert len(one.data) == 1 and len(apart.at(4, 2).plot().data) == 2
    with pytest.raises(InputError, match="circuit must be one of ov, qk, direct, got 'vo'"):
        found.plot("vo")
    with pytest.raises(InputError, match=r"Draw circuits\.at\(query_position, key_position\)"):
        apart.plot()
    with pytest.raises(InputError, match=r"head must be in 0\.\.1 or None, got 2"):
        found.plot(head=2)
