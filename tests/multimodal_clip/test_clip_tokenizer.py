"""Token ids against open_clip's own tokenizers."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import ftfy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.tokenizer import SimpleTokenizer, basic_clean, canonicalize_text, whitespace_clean
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from zoo.paths import cache_dir
from zoo.texts import from_description
from zoo_multimodal import clip_tokenizer
from zoo_multimodal.clip_tokenizer import clip_text_pipeline, needs_tokenizer, plain_text_pipeline
from zoo_registry.errors import WeightsError
from zoo_registry.specs import InputSpec

CONTEXT = 77
CLIP = SimpleTokenizer(context_length=CONTEXT)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_CACHE", str(tmp_path_factory.mktemp("tokens")))
        return clip_text_pipeline(InputSpec(modality="text", size=(CONTEXT,)))


def theirs(text: str) -> list[int]:
    """open_clip's ids without its padding."""
    return ([CLIP.sot_token_id, *CLIP.encode(text)])[: CONTEXT - 1] + [CLIP.eot_token_id]


@pytest.mark.parametrize(
    "text",
    [
        "a photo of a cat",
        "It's 2024's 3rd: $12,345.67 — they'LL see, I'd've won't",
        "Café déjà-vu, naïve Ångström, ñandú, Straße, İstanbul",
        "cafe\u0301 decomposed",
        "emoji 😀👩‍👩‍👧 ok ❤️ 🇩🇪",
        "tab\tnew\nline\r\n no-break\u00a0space \u3000 wide",
        "你好世界 日本語１２３ ＡＢＣ！， Привет мир 안녕하세요",
        "ΟΔΟΣ ΣΟΦΟΣ ΑΣ.",
        "“curly” ‘quotes’ it’s ﬁne ﬂow ĳ",
        "AT&amp;T &lt;b&gt; &amp;lt; &quot;x&quot; x&#39;s &nbsp;y R&ampD",
        "&#38;&#x26; &amp;amp;amp; &#60;&#X3e; &#039;&#x27;&apos; &#xA0;end &#34 end",
        "a_b-c d/e!!! ((())) ½ ² ④ x²",
        "<start_of_text> odd <END_OF_TEXT>",
        "zero\u200bwidth and control\x07 \ufeff bytes",
        "pneumonoultramicroscopicsilicovolcanoconiosis " * 20,
        "word " * 300,
        "!",
    ],
)
def test_ids_equal_open_clips(reader: Any, text: str) -> None:
    assert reader.decode(text)[:, 0].tolist() == theirs(text)


LETTERS = st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs"), max_codepoint=0x24FF)


@settings(max_examples=400, deadline=None)
@given(st.text(st.one_of(st.sampled_from(string.printable), LETTERS), min_size=1, max_size=60))
def test_ids_equal_open_clips_on_anything_it_does_not_repair(reader: Any, text: str) -> None:
    """What ftfy decodes anew, and entities beyond the common ones, are the documented exceptions."""
    if "&" in text or any("\x80" <= letter <= "\x9f" for letter in text) or not text.strip():
        return
    changed = ftfy.fix_encoding(text) != text or "\x1b" in text
    if changed or len(theirs(text)) == 2:
        return
    assert reader.decode(text)[:, 0].tolist() == theirs(text)


def test_long_texts_keep_their_end(reader: Any) -> None:
    ids = reader.decode("word " * 300)[:, 0]
    assert (len(ids), ids[0], ids[-1]) == (CONTEXT, CLIP.sot_token_id, CLIP.eot_token_id)
    short = clip_text_pipeline(InputSpec(modality="text", size=(8,))).decode("word " * 300)[:, 0]
    assert (len(short), short[-1]) == (8, CLIP.eot_token_id)


def test_the_file_is_made_once_and_serves_alone(reader: Any, tmp_path: Path) -> None:
    folder = clip_tokenizer.clip_tokenizer_folder()
    assert folder.parent == cache_dir() / "tokenizers"
    before = (folder / "tokenizer.json").stat().st_mtime_ns
    assert clip_tokenizer.clip_tokenizer_folder() == folder
    assert (folder / "tokenizer.json").stat().st_mtime_ns == before
    reader.save_assets(tmp_path)
    served = from_description(json.loads(json.dumps(reader.describe())), tmp_path)
    assert served.encode("a photo of a cat")[:, 0].tolist() == theirs("a photo of a cat")
    again = clip_text_pipeline(InputSpec(modality="text", size=(CONTEXT,), assets=str(tmp_path)))
    assert again.input.assets == str(tmp_path)
    assert again.describe()["tokenizer_sha256"] == reader.describe()["tokenizer_sha256"]


def _own_tokenizer(folder: Path) -> Path:
    """A word-level tokenizer that would read everything as it stands."""
    words = ["<unk>", "a", "A", "photo", "of", "cat", "cat!", "it's", "its", "Photo"]
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.mark.parametrize("text", ["A  Photo of\n a cat!", "it's a_cat", "it’s A &amp; cat!", " A cat "])
@pytest.mark.parametrize("how", ["plain", "canonical"])
def test_cleaning_before_a_tokenizer_of_ones_own(tmp_path: Path, how: str, text: str) -> None:
    spec = InputSpec(modality="text", size=(16,), assets=str(_own_tokenizer(tmp_path)))
    pipeline: Any = getattr(clip_tokenizer, f"{how}_text_pipeline")(spec)
    bare = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    cleaned = whitespace_clean(basic_clean(text)) if how == "plain" else canonicalize_text(basic_clean(text))
    assert pipeline.decode(text)[:, 0].tolist() == bare.encode(cleaned).ids
    assert bare.encode(text).ids != bare.encode(cleaned).ids or text.split() == cleaned.split()


def test_what_a_run_saved_is_not_cleaned_twice(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "run").mkdir()
    own = InputSpec(modality="text", size=(16,), assets=str(_own_tokenizer(tmp_path / "own")))
    first: Any = clip_tokenizer.canonical_text_pipeline(own)
    first.save_assets(tmp_path / "run")
    again: Any = clip_tokenizer.canonical_text_pipeline(
        InputSpec(modality="text", size=(16,), assets=str(tmp_path / "run"))
    )
    assert again.key == first.key


def test_no_tokenizer(tmp_path: Path) -> None:
    spec = InputSpec(modality="text", size=(16,))
    with pytest.raises(WeightsError, match=r"tokenizer\.json"):
        plain_text_pipeline(spec)
    with pytest.raises(WeightsError, match="tokenizer of its own"):
        needs_tokenizer(spec, [])
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(WeightsError, match="damaged"):
        plain_text_pipeline(InputSpec(modality="text", size=(16,), assets=str(tmp_path)))
