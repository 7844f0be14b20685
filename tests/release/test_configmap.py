"""Which history entries a ConfigMap keeps."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tfsdeploy.release.configmap import bounded
from tfsdeploy.release.history import Entry, decode_entry, encode_entry
from tfsdeploy.release.model import Change

LIMIT = 2000


def kept(*entries: Entry) -> dict[str, str]:
    return {entry.file_name: encode_entry(entry) for entry in entries}


@st.composite
def histories(draw: st.DrawFn) -> dict[str, str]:
    """Generations of this life and of the one before, short and long, and what is no entry."""
    numbers = draw(st.lists(st.integers(1, 60), unique=True, max_size=40))
    texts = kept(
        *(
            Entry(draw(st.sampled_from(["old", "new"])), n, Change("ann", "", draw(st.text("xé", max_size=300)), ""))
            for n in numbers
        )
    )
    noise = st.text(max_size=20).filter(lambda text: not text.startswith("{"))
    return texts | draw(st.dictionaries(st.sampled_from(["a.json", "notes"]), noise))


@given(histories(), st.integers(0, 50))
def test_the_newest_of_this_life_stay_within_the_limits(texts: dict[str, str], most: int) -> None:
    stay = bounded(texts, "new", most, LIMIT)
    assert stay.items() <= texts.items()
    assert len(stay) <= most
    assert sum(len(key) + len(text.encode()) for key, text in stay.items()) <= LIMIT
    ours = sorted(
        (key for key, text in texts.items() if text.startswith("{") and decode_entry(text).uid == "new"), reverse=True
    )
    staying = [key for key in ours if key in stay]
    assert staying == ours[: len(staying)]
    assert len(staying) == len(ours) or all(key in ours for key in stay)


def test_an_earlier_life_leaves_before_this_one() -> None:
    """A fleet that was created anew begins with low numbers: they must not be taken for the oldest."""
    old = [Entry("old", n, Change("ann", "", "", "")) for n in range(400, 450)]
    new = Entry("new", 1, Change("ann", "", "", ""))
    stay = bounded(kept(*old, new), "new", 50)
    assert new.file_name in stay
    assert old[0].file_name not in stay
    assert len(stay) == 50
