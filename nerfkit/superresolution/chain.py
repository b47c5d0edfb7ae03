"""Where frames look when much moves between the first and the last: from neighbour to neighbour, with key frames.

Each frame is registered against the last key frame, from where its predecessor looks, by the enhanced correlation
coefficient (ECC; Evangelidis and Psarakis, TPAMI 30, 2008): an affine map whatever the brightness. A new key frame is
taken where little of the last one is left in view. What is composed drifts, so at the end each frame is registered
once more against the reference, or against the key frame that shares most with it. Lengths are low-res pixels, points
as in :mod:`nerfkit.scenes.motion`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nerfkit.limits import Limit
from nerfkit.scenes.opencv import load_cv2

__all__ = ["Chain", "agreement", "equalised", "register_chain"]

# longest side that is registered: beyond it frames are averaged down, the rest is left to what refines the motions
LONGEST = 200
# iterations and the change of the correlation at which one ECC ends; side of its Gaussian, low-res pixels
ITERATIONS, CHANGE, SIDE = 60, 1e-5, 5
# standard deviation of the Gaussian that says what contrast is usual round a pixel, low-res pixels
NEAR = 5.0
# correlation from which a frame is taken to show the same scene, and that from which no other start is tried
PLACED, GOOD = 0.6, 0.9
# rounds of ECC, between which pixels are left out whose correlation is this far below the median, where that is high
# enough to tell
ROUNDS, STRANGE, AGREES = 3, 0.2, 0.5
# homographies are taken where what they leave unexplained is less than this fraction of what affine maps do
FLATTER = 0.8
# weight of a border pixel that counts as seen; least variance of equal contrasts; determinant of a map to a line; least
# contrast of a pixel's surroundings that it is divided by
WITHIN, FLAT, SINGULAR, LEAST = 0.999, 1e-4, 1e-3, 1e-12
# fraction of a frame that must be in view of a key frame, and of the reference to be registered against it directly
IN_VIEW, IN_REFERENCE = 0.6, 0.35
# a correlation over less than this fraction of a frame tells nothing
LEAST_VIEW = 0.15
# frames from which a chain is begun anew where less than half of them hang on the first
MORE_STARTS = 2
# frames before it that a frame is compared with where the key frame does not show it
RECENT = 3
# turns, in degrees, and zooms between which a start is looked for where nothing else fits
TURN, ZOOMS = 10, (0.8, 1.0, 1.25)
# the first frame is the reference unless others see less than this fraction of what the best one shares with them
SHARED = 0.9
# points along a side that overlaps are counted at
POINTS = 12

# from frame points to frame points, both with pixel centres at +0.5, to OpenCV's with centres at whole numbers
HALF = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Chain:
    """Where frames look.

    Parameters
    ----------
    matrices : ndarray, shape (n_frames, 3, 3)
        Affine maps or homographies from frame points to points of the reference.
    is_placed : ndarray, shape (n_frames,), bool
        Whether a frame was found to show the scene.
    reference : int
        The frame that stands still.
    model : {"affine", "homography"}
        The simplest of the two that agrees as well.
    """

    matrices: Matrix
    is_placed: NDArray[np.bool_]
    reference: int
    model: str


def register_chain(
    frames: NDArray[np.floating], reference: int | None = None, limit: Limit | None = None, *,
    may_be_tilted: bool = True,
) -> Chain | None:  # fmt: skip
    """Register frames that may turn, grow and drift by most of a frame from the first to the last.

    Parameters
    ----------
    frames : ndarray, shape (n_frames, h, w)
        Grey frames.
    reference : int, optional
        The frame that stands still; None: the first, or where few see it the one that most frames overlap.
    limit : Limit, optional
        Frames that it leaves no time for are not placed.
    may_be_tilted : bool
        Whether homographies are tried after affine maps.

    Returns
    -------
    chain : Chain, optional
        None where hardly any frames hang together, or the reference with none of them.
    """
    small, to_frames = _prepared(frames)
    links = _Links(small, Limit() if limit is None else limit)
    poses, keys = _longest(links)
    is_placed = np.array([pose is not None for pose in poses])
    if is_placed.sum() < 2 or (reference is not None and not is_placed[reference]):
        return None
    found = np.stack([np.eye(3) if pose is None else pose for pose in poses])
    reference = _most_shared(found, is_placed, links.size) if reference is None else reference
    found = np.linalg.inv(found[reference]) @ found
    found, agreed = _closed(links, found, is_placed, reference, keys, is_affine=True)
    model = "affine"
    if may_be_tilted:
        tilted, agreed_tilted = _closed(links, found, is_placed, reference, keys, is_affine=False)
        if _unexplained(agreed_tilted) < FLATTER * _unexplained(agreed):
            found, model = tilted, "homography"
    found = to_frames @ found @ np.linalg.inv(to_frames)
    return Chain(found / found[:, 2:, 2:], is_placed, reference, model)


def agreement(frames: NDArray[np.floating], matrices: Matrix, reference: int) -> NDArray[np.float64]:
    """Correlation of each frame with what the reference shows of it, smoothed as ECC does; NaN where that is little."""
    small, to_frames = _prepared(frames)
    links = _Links(small, Limit())
    matrices = np.linalg.inv(to_frames) @ matrices @ to_frames
    return np.array([links.correlation(index, reference, matrix) for index, matrix in enumerate(matrices)])


def _prepared(frames: NDArray[np.floating]) -> tuple[list[NDArray[np.float32]], Matrix]:
    """Frames as ECC takes them, and the scale from their points to those of ``frames``.

    They have at most ``LONGEST`` pixels a side, and equal contrast everywhere.
    """
    cv2 = load_cv2()
    height, width = frames.shape[1:]
    factor = max(1.0, max(height, width) / LONGEST)
    size = max(1, round(width / factor)), max(1, round(height / factor))

    small = [cv2.resize(frame.astype(np.float32), size, interpolation=cv2.INTER_AREA) for frame in frames]
    return [equalised(frame) for frame in small], np.diag([width / size[0], height / size[1], 1])


def equalised(frame: NDArray[np.float32]) -> NDArray[np.float32]:
    """A frame [h, w] with equal contrast everywhere, about 1, and mean 0.

    A dark thing that crosses a page of text would lead the whole frame with it.
    """
    cv2 = load_cv2()
    frame = frame - cv2.GaussianBlur(frame, (0, 0), NEAR)
    local = np.sqrt(cv2.GaussianBlur(frame * frame, (0, 0), NEAR))
    return frame / np.maximum(local + float(np.median(local)), LEAST)


def _unexplained(agreed: NDArray[np.float64]) -> float:
    """Median of what correlations leave to 1; 1 where there is none."""
    known = agreed[np.isfinite(agreed)]
    return float(np.median(1 - known)) if len(known) else 1.0


def _median(local: NDArray[np.float32]) -> float:
    """Median of the correlations; NaN where they are of too few pixels to tell anything."""
    known = local[np.isfinite(local)]
    return float(np.median(known)) if len(known) >= LEAST_VIEW * local.size else float("nan")


class _Links:
    """Pairs of frames, registered from a start."""

    def __init__(self, frames: list[NDArray[np.float32]], limit: Limit) -> None:
        self.cv2 = cv2 = load_cv2()
        self.frames, self.limit = frames, limit
        self.smooth = [cv2.GaussianBlur(frame, (SIDE, SIDE), 0) for frame in frames]
        self.size = frames[0].shape[1], frames[0].shape[0]

    def correlation(self, frame: int, key: int, matrix: Matrix) -> float:
        """Median over a frame of its local correlation with what a key frame shows there; NaN where that is little."""
        return _median(self._local(frame, key, matrix))

    def _local(self, frame: int, key: int, matrix: Matrix) -> NDArray[np.float32]:
        """Correlation round each pixel [h, w] of a frame with what a key frame shows there; NaN where it shows none."""
        seen = self._warped(self.smooth[key], matrix)
        is_seen = self._warped(np.ones_like(seen), matrix) > WITHIN

        def around(values: NDArray[np.float32]) -> NDArray[np.float32]:
            return self.cv2.GaussianBlur(values, (0, 0), NEAR / 2)

        one = self.smooth[frame]
        means = around(one), around(seen)
        shared = around(one * seen) - means[0] * means[1]
        spreads = around(one * one) - means[0] ** 2, around(seen * seen) - means[1] ** 2
        local = shared / np.sqrt(np.maximum(spreads[0], FLAT) * np.maximum(spreads[1], FLAT))
        return np.where(is_seen, local, np.nan).astype(np.float32)

    def _warped(self, picture: NDArray[np.float32], matrix: Matrix) -> NDArray[np.float32]:
        """What the pixels of a frame show of another, where a matrix takes them; 0 beyond it."""
        into = np.linalg.inv(HALF) @ matrix @ HALF
        return self.cv2.warpPerspective(
            picture, into, self.size, flags=self.cv2.INTER_LINEAR | self.cv2.WARP_INVERSE_MAP
        )

    def register(self, frame: int, key: int, start: Matrix, *, is_affine: bool = True) -> tuple[float, Matrix]:
        """The affine map or homography from a frame to a key frame, and their correlation; -1 where there is none."""
        best, matrix = -1.0, start
        for _ in range(ROUNDS):
            local = self._local(frame, key, matrix)
            usual = _median(local)
            # what moves by itself disagrees where the rest agrees
            mask = ~(local < usual - STRANGE) if usual > AGREES else np.ones(local.shape, bool)
            tried = self._descended(frame, key, matrix, mask, is_affine)
            found = -1.0 if tried is None else self.correlation(frame, key, tried)
            if tried is None or not found > best:
                break
            best, matrix = found, tried
        return best, matrix

    def _descended(
        self, frame: int, key: int, start: Matrix, mask: NDArray[np.bool_], is_affine: bool
    ) -> Matrix | None:  # fmt: skip
        """The map that ECC ends at; None where it ends nowhere."""
        warp = np.linalg.inv(HALF) @ np.linalg.inv(start) @ HALF
        warp = (warp[:2] if is_affine else warp / warp[2, 2]).astype(np.float32)
        kind = self.cv2.MOTION_AFFINE if is_affine else self.cv2.MOTION_HOMOGRAPHY
        criteria = (self.cv2.TERM_CRITERIA_EPS | self.cv2.TERM_CRITERIA_COUNT, ITERATIONS, CHANGE)
        try:
            _, warp = self.cv2.findTransformECC(
                self.frames[key], self.frames[frame], warp, kind, criteria, mask.astype(np.uint8), SIDE
            )  # fmt: skip
        except self.cv2.error:
            # no overlap, or nothing to go by
            return None
        matrix = np.eye(3)
        matrix[: len(warp)] = warp
        if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < SINGULAR:
            return None
        found = HALF @ np.linalg.inv(matrix) @ np.linalg.inv(HALF)
        return found / found[2, 2]

    def at_rest(self, frame: int, key: int) -> Matrix:
        """A start: both frames look at the same place."""
        return np.eye(3)

    def shifted(self, frame: int, key: int) -> Matrix:
        """A start: the shift at the peak of the phase correlation."""
        (dx, dy), _ = self.cv2.phaseCorrelate(
            self.smooth[frame].astype(np.float64), self.smooth[key].astype(np.float64)
        )
        return np.array([[1, 0, dx], [0, 1, dy], [0, 0, 1.0]])

    def turned(self, frame: int, key: int) -> Matrix:
        """A start: of turns and zooms all round, each with the shift at its peak, the one that agrees best."""
        middle, size = np.array(self.size) / 2, self.size
        one, best, found = self.smooth[frame].astype(np.float64), -1.0, np.eye(3)
        for zoom in ZOOMS:
            for angle in np.arange(0, 2 * np.pi, np.radians(TURN)):
                c, s = zoom * np.cos(angle), zoom * np.sin(angle)
                matrix = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
                matrix[:2, 2] = middle - matrix[:2, :2] @ middle
                there = self._warped(self.smooth[key], matrix).astype(np.float64)
                (dx, dy), peak = self.cv2.phaseCorrelate(one, there)
                if peak > best and abs(dx) < size[0] / 2 and abs(dy) < size[1] / 2:
                    best, found = peak, matrix @ np.array([[1, 0, dx], [0, 1, dy], [0, 0, 1]])
        return found


def _longest(links: _Links) -> tuple[list[Matrix | None], list[int]]:
    """The chain from the first frame, or from a later one where that shows something else than most do."""
    best = _followed(links, 0)
    for _ in range(MORE_STARTS):
        unplaced = [index for index, pose in enumerate(best[0]) if pose is None]
        if 2 * len(unplaced) <= len(links.frames) or links.limit.is_over:
            break
        tried = _followed(links, unplaced[0])
        best = min(best, tried, key=lambda chain: sum(pose is None for pose in chain[0]))
    return best


def _followed(links: _Links, first: int) -> tuple[list[Matrix | None], list[int]]:
    """Where each frame looks on the axes of a first, None of those that show something else; and the key frames."""
    n = len(links.frames)
    poses: list[Matrix | None] = [None] * n
    poses[first], keys, placed = np.eye(3), [first], [first]
    for index in [*range(first + 1, n), *range(first - 1, -1, -1)]:
        if not links.limit.allows(0, "the registration of some frames"):
            break
        found, pose = _placed(links, index, poses, keys[-1], placed)
        if found < PLACED:
            continue
        poses[index] = pose
        placed.append(index)
        if _overlap(np.linalg.inv(_of(poses, keys[-1])) @ pose, links.size) < IN_VIEW:
            keys.append(index)
    return poses, keys


def _of(poses: list[Matrix | None], index: int) -> Matrix:
    pose = poses[index]
    assert pose is not None
    return pose


def _placed(
    links: _Links, index: int, poses: list[Matrix | None], key: int, placed: list[int]
) -> tuple[float, Matrix]:  # fmt: skip
    """The correlation of a frame with the one that it agrees with best, and where it looks."""
    last = placed[-1]

    def against(one: int, start: Matrix) -> tuple[float, Matrix]:
        found, matrix = links.register(index, one, start)
        return found, _of(poses, one) @ matrix

    best = against(key, np.linalg.inv(_of(poses, key)) @ _of(poses, last))
    recent = dict.fromkeys([key, *placed[: -RECENT - 1 : -1]])
    for one, start in [(one, start) for start in (_Links.at_rest, _Links.shifted) for one in recent]:
        if best[0] >= GOOD:
            return best
        best = max(best, against(one, start(links, index, one)), key=lambda pair: pair[0])
    for one in dict.fromkeys([key, last]):
        if best[0] < PLACED:
            best = max(best, against(one, links.turned(index, one)), key=lambda pair: pair[0])
    return best


def _closed(
    links: _Links, poses: Matrix, is_placed: NDArray[np.bool_], reference: int, keys: list[int], *, is_affine: bool
) -> tuple[Matrix, NDArray[np.float64]]:  # fmt: skip
    """Poses on the reference's axes without the drift of what was composed, wherever that agrees better; and how well.

    Frames are taken in the order in which they share more with the reference.
    """
    poses, agreed = poses.copy(), np.full(len(poses), np.nan)
    anchors: list[int] = [reference]
    for index in sorted(np.flatnonzero(is_placed).tolist(), key=lambda index: -_overlap(poses[index], links.size)):
        if index == reference or not links.limit.allows(0, "the last rounds of the first registration"):
            continue
        shared = [_overlap(np.linalg.inv(poses[one]) @ poses[index], links.size) for one in anchors]
        one = reference if shared[0] >= IN_REFERENCE else anchors[int(np.argmax(shared))]
        start = np.linalg.inv(poses[one]) @ poses[index]
        found, matrix = links.register(index, one, start, is_affine=is_affine)
        agreed[index] = links.correlation(index, one, start)
        if found > max(PLACED, agreed[index]):
            poses[index], agreed[index] = poses[one] @ matrix, found
        if index in keys:
            anchors.append(index)
    return poses / poses[:, 2:, 2:], agreed


def _overlap(matrix: Matrix, size: tuple[int, int]) -> float:
    """Fraction of a frame that looks at points of the frame that the matrix leads to."""
    (width, height), at = size, (np.arange(POINTS) + 0.5) / POINTS
    x, y = np.meshgrid(at * width, at * height)
    there = matrix @ np.stack([x.ravel(), y.ravel(), np.ones(x.size)])
    x, y = there[:2] / there[2]
    return float(((x >= 0) & (x <= width) & (y >= 0) & (y <= height)).mean())


def _most_shared(poses: Matrix, is_placed: NDArray[np.bool_], size: tuple[int, int]) -> int:
    """The first placed frame, or the one that most frames overlap where that is much more."""
    placed = np.flatnonzero(is_placed)
    shared = [np.mean([_overlap(np.linalg.inv(poses[j]) @ poses[i], size) for j in placed]) for i in placed]
    best = int(np.argmax(shared))
    return int(placed[0 if shared[0] >= SHARED * shared[best] else best])
