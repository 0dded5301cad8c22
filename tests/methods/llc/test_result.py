"""What an estimate says of itself."""

import json

import numpy as np
import pytest

from mechbp.errors import InputError
from mechbp.methods.llc.diagnostics import effective_sample_size, split_rhat
from mechbp.methods.llc.estimate import llc
from mechbp.methods.llc.known_losses import quadratic
from mechbp.randomness import rng


@pytest.fixture(scope="module")
def found():
    curvatures = np.array([0.5, 1.0, 2.0])
    return llc(*quadratic(curvatures), [None], n_beta=20.0, localization=4.0, step_size=2e-3, chains=4, burn_in=300, rng=rng(0))


def test_tables_and_json_hold_the_numbers(found):
    frame = found.to_dataframe()
    np.testing.assert_array_equal(frame["estimate"], found.per_chain)
    assert frame["estimate"].mean() == pytest.approx(found.estimate) and list(frame["chain"]) == [0, 1, 2, 3]
    plain = json.loads(json.dumps(found.to_dict(traces=True)))
    assert plain["estimate"] == found.estimate and np.shape(plain["losses"]) == (1000, 4)
    assert plain["settings"]["n_beta"] == 20 and plain["settings"]["draws"] == 700
    assert "losses" not in found.to_dict()


def test_diagnostics_are_those_of_the_draws_kept(found):
    terms = 20 * found.losses[300:]
    np.testing.assert_array_equal(found.terms, terms)
    np.testing.assert_array_equal(found.effective_draws, effective_sample_size(terms))
    assert found.rhat == split_rhat(terms)
    assert 0.9 < found.acceptance.mean() <= 1 and found.negative_share == 0


def test_short_chains_are_drawn_whole():
    chains = llc(*quadratic(np.ones(2)), [None], n_beta=20.0, step_size=2e-3, chains=2, burn_in=20, draws=380, rng=rng(0))
    assert list(chains.plot("loss").data[0].x) == list(range(400))


def test_summary_prints_every_setting_and_caution(found):
    text = found.summary()
    for part in ("n_beta 20", "localization 4", "step_size 0.002", "300 + 700 steps", "sgld", "R-hat", f"{found.estimate:.4g}"):
        assert part in text
    assert repr(found) in repr(found) and len(repr(found)) < 140 and "n_beta=20" in repr(found)
    assert found._repr_html_().startswith(f"<pre>{text}</pre>".replace("<=", "&lt;="))
    assert not found.cautions or "caution" in text


def test_cautions_say_what_is_wrong():
    curvatures = np.array([1.0, 1e-9])
    common = {"n_beta": 50.0, "chains": 4, "burn_in": 20, "draws": 100}
    loose = llc(*quadratic(curvatures), [None], localization=0.0, step_size=0.03, rng=rng(0), **common)
    assert any("localization is 0" in caution for caution in loose.cautions)
    assert any("step_size x (n_beta h_max + localization) is 1.5" in caution for caution in loose.cautions)
    short = llc(*quadratic(curvatures), [None], localization=1.0, step_size=1e-3, rng=rng(0), **common)
    assert any("burn_in is 20: flat directions forget w* only after 2000 steps" in caution for caution in short.cautions)
    uphill = llc(*quadratic(-curvatures), [None], localization=80.0, step_size=1e-3, rng=rng(0), **common)
    assert uphill.estimate < 0 and uphill.negative_share == 1
    assert any("100% of the chains are negative" in caution for caution in uphill.cautions)


def test_plots_draw_every_chain(found):
    loss = found.plot("loss").data
    distance = found.plot("distance").data
    assert len(loss) == len(distance) == 4
    steps = list(loss[0].x)
    excess = 20 * (found.losses[steps, 0] - found.at_minimum[steps])
    np.testing.assert_allclose(loss[0].y, excess, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(distance[3].y, found.distances[list(distance[3].x), 3], rtol=1e-5)
    assert len(steps) == 400 and steps[0] == 0 and steps[-1] == 999, "1,000 steps, thinned evenly"
    assert set(np.diff(steps)) == {2, 3}
    running = found.plot().data
    np.testing.assert_allclose([line.y[-1] for line in running], found.per_chain, rtol=1e-5)
    assert running[0].x[0] == found.settings.burn_in
    with pytest.raises(InputError, match="trace must be one of 'running estimate', 'loss', 'distance', got 'losses'"):
        found.plot("losses")
