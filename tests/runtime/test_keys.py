"""The mesh key as text."""

import pytest

from meshflow.runtime.keys import BadKey, make_key, parse_key


def test_every_key_is_another() -> None:
    one, two = make_key(), make_key()
    assert len({one.public, one.secret, two.public, two.secret}) == 4
    assert all(len(each) == 40 for each in (one.public, one.secret))


def test_the_text_of_a_key_is_one_word_that_gives_the_key_back() -> None:
    for _ in range(50):
        key = make_key()
        text = key.text()
        assert text.replace("_", "").replace("-", "").isalnum()
        assert parse_key(f"  {text}\n") == key


def test_the_secret_is_not_shown() -> None:
    key = make_key()
    for shown in (repr(key), str(key), f"{key}"):
        assert key.secret not in shown
        assert key.text() not in shown
        assert key.public in shown


def test_a_badly_copied_key_is_told_from_another_one() -> None:
    text = make_key().text()
    for position in range(len("meshkey1_"), len(text)):
        changed = "A" if text[position] != "A" else "B"
        with pytest.raises(BadKey, match="not copied correctly"):
            parse_key(text[:position] + changed + text[position + 1 :])


@pytest.mark.parametrize("text", ["", "nonsense", "meshkey1_AAAA", "meshkey1_" + "ü" * 48, "A" * 48])
def test_what_is_no_key_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(BadKey, match="one word that begins with 'meshkey1_'") as caught:
        parse_key(text)
    assert not text or text not in str(caught.value)


def test_a_shortened_key_is_refused() -> None:
    text = make_key().text()
    for length in range(len("meshkey1_"), len(text)):
        with pytest.raises(BadKey):
            parse_key(text[:length])


def test_a_fingerprint_tells_keys_apart_and_gives_nothing_away() -> None:
    key = make_key()
    assert key.fingerprint == parse_key(key.text()).fingerprint != make_key().fingerprint
    assert len(key.fingerprint) == 8
    assert key.fingerprint not in key.text()
