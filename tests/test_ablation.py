from benchmarks.ablation import WITHOUT, markdown, trials


def test_every_ingredient_changes_the_plant_and_training_is_shared_where_it_may(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("benchmarks.ablation.GARDEN", "tiny")
    found = trials(["delay1"], [0, 1], tmp_path)
    assert [t.without for t in found] == [name for name in WITHOUT for _ in range(2)]
    assert len({t.planted.key for t in found}) == len(found)
    based = {t.without for t in found if t.base is not None}
    assert based == {"counterexamples", "hints in sparsify", "noise in sparsify"}
    for trial in found:
        if trial.base is not None:
            assert trial.base == next(
                t.folder for t in found if (t.without, t.seed) == ("nothing", trial.seed)
            )


def test_what_a_plant_does_without_by_itself_is_not_left_out_again(tmp_path):
    found = trials(["parens"], [0], tmp_path)
    without = {t.without for t in found}
    assert without == set(WITHOUT) - {"pull to -1 and 1", "the factor's annealing"}


def test_the_table_has_a_size_for_each_seed_or_says_that_none_is_proven():
    rows = [
        {"plant": "p", "seed": s, "without": w, "proven": ok, "weights": 4, "biases": s}
        | {"late": late, "limit": 900.0}
        for w, s, ok, late in (
            ("nothing", 0, True, False),
            ("nothing", 1, True, False),
            ("all noise", 0, False, True),
            ("all noise", 1, False, False),
        )
    ]
    lines = markdown(rows).splitlines()
    assert lines[0].replace(" ", "") == "|without|`p`|"
    assert "4, 5" in lines[2]
    assert lines[3].startswith("| all noise")
    assert "| over 900 s, not proven |" in lines[3]
