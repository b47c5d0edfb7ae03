"""Photos of a scene: sphere tracing, a sun with soft shadows, a sky with occlusion, glossy highlights.

All of it is deterministic and free of noise: penumbrae and occlusion come from distances along a single ray
(I. Quilez, "soft shadows in raymarched SDFs" and "ambient occlusion"), so two photos of a point agree as far
as its gloss allows.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

from nerfkit.scenes.synthetic.materials import SHALLOWS, albedo, ripple
from nerfkit.scenes.synthetic.shapes import (
    CELL,
    EXTENT,
    FAR,
    PATTERN,
    REFLECTANCE,
    ROTATION,
    ROUGHNESS,
    Scene,
    compiled,
    scene_distance,
    to_local,
)

__all__ = ["trace_view"]

_SURFACE = 4e-4  # a tenth of a sub-pixel at 200x200
_SUN = (0.5071, -0.3586, 0.7837)  # unit direction towards it
_SUN_COLOUR = (2.75, 2.5, 2.1)
_SHARPNESS = 11.0  # one over the tangent of the sun's apparent radius


@compiled
def _march(scene, ox, oy, oz, dx, dy, dz):
    """Distance along a unit ray to the first surface, and the shape; FAR and -1 where it meets none."""
    near, far = 0.0, FAR
    for o, d in ((ox, dx), (oy, dy), (oz, dz)):
        inverse = 1.0 / (d if abs(d) > 1e-12 else 1e-12)
        first, second = (-EXTENT - o) * inverse, (EXTENT - o) * inverse
        near, far = max(near, min(first, second)), min(far, max(first, second))
    t, last_distance, step = near + 1e-6, 0.0, 0.0
    for _ in range(200):
        if t >= far:
            break
        distance, which = scene_distance(scene, ox + t * dx, oy + t * dy, oz + t * dz, 0.5 * CELL)
        if step > 1.001 * last_distance and step > distance + last_distance:
            t += last_distance - step  # a gap between the two balls: the step was too bold
            step = last_distance
            continue
        if distance < _SURFACE:
            return t, which
        # C. Balint, G. Valasek, "Accelerating sphere tracing" (2018): the next ball touches this one if the
        # surface goes on as the plane that the last two balls touch
        slope = min(max((last_distance - distance) / step, 0.0), 1.0) if step > 0.0 and which >= 0 else 1.0
        last_distance, step = distance, max(distance, 1.94 * distance / (1.0 + slope))
        t += step
    return FAR, -1


@compiled
def _normal(scene, x, y, z):
    """Unit gradient of the distance, from a tetrahedron of four points."""
    h = 4e-4
    nx, ny, nz = 0.0, 0.0, 0.0
    for sx, sy, sz in ((1.0, -1.0, -1.0), (-1.0, -1.0, 1.0), (-1.0, 1.0, -1.0), (1.0, 1.0, 1.0)):
        d, _ = scene_distance(scene, x + sx * h, y + sy * h, z + sz * h, FAR)
        nx, ny, nz = nx + sx * d, ny + sy * d, nz + sz * d
    scale = 1.0 / math.sqrt(nx * nx + ny * ny + nz * nz + 1e-30)
    return nx * scale, ny * scale, nz * scale


@compiled
def _sunlight(scene, x, y, z):
    """Part of the sun that a point sees, in [0, 1]."""
    seen, t = 1.0, 0.012
    for _ in range(80):
        distance, _ = scene_distance(scene, x + t * _SUN[0], y + t * _SUN[1], z + t * _SUN[2], t / _SHARPNESS)
        if distance >= FAR:
            break
        seen = min(seen, _SHARPNESS * distance / t)
        if seen < -1.0:
            return 0.0
        t += max(distance, 0.006)
    return 0.25 * (1.0 + seen) * (1.0 + seen) * (2.0 - seen)


@compiled
def _skylight(scene, x, y, z, nx, ny, nz):
    """Part of the sky that the surroundings leave open, in [0, 1]."""
    hidden, weight = 0.0, 1.0
    for k in range(1, 6):
        h = 0.032 * k
        distance, _ = scene_distance(scene, x + h * nx, y + h * ny, z + h * nz, h)
        hidden += weight * max(h - distance, 0.0)
        weight *= 0.8
    return min(max(1.0 - 3.2 * hidden, 0.0), 1.0)


@compiled
def _sky(z):
    """Colour of the surroundings towards this z: warm from below, pale at the horizon, blue above."""
    up, down = max(z, 0.0) ** 0.6, min(max(-z * 3.0, 0.0), 1.0)
    r, g, b = 0.95 - 0.55 * up, 0.97 - 0.40 * up, 1.0 - 0.10 * up
    return r + down * (0.42 - r), g + down * (0.37 - g), b + down * (0.32 - b)


@compiled
def _highlight(nh, nl, nv, roughness):
    """GGX lobe over its visibility term, without the Fresnel factor (Walter et al. 2007)."""
    a2 = roughness**4
    spread = nh * nh * (a2 - 1.0) + 1.0
    k = 0.5 * roughness * roughness
    return a2 / (math.pi * spread * spread) / (4.0 * (nl * (1.0 - k) + k) * (nv * (1.0 - k) + k))


@compiled
def _encode(value):
    """Linear light to sRGB, with a soft shoulder in place of a clip."""
    value = 1.0 - math.exp(-1.15 * max(value, 0.0))
    return 12.92 * value if value <= 0.0031308 else 1.055 * value ** (1.0 / 2.4) - 0.055


@compiled
def _channel(paint, light, sun, gloss, mirrored_sky, dome, f0, metal):
    """One encoded channel: what the paint scatters and what the surface mirrors, of sun and of sky."""
    scattered = (1.0 - f0) * paint * (0.36 * light * sun + 0.42 * dome)
    return _encode(scattered + (1.0 + metal * (paint - 1.0)) * (gloss * light + mirrored_sky))


@compiled
def _shade(rows, which, x, y, z, nx, ny, nz, dx, dy, dz, sun, open_sky):
    """Colour, sRGB in [0, 1], of a surface point with its normal and light, seen along a unit direction."""
    lx, ly, lz = to_local(rows, which, x, y, z)
    r = ROTATION
    local_nx = rows[which, r] * nx + rows[which, r + 1] * ny + rows[which, r + 2] * nz
    local_ny = rows[which, r + 3] * nx + rows[which, r + 4] * ny + rows[which, r + 5] * nz
    red, green, blue = albedo(rows, which, lx, ly, lz, local_nx, local_ny)
    if rows[which, PATTERN] == SHALLOWS and nz > 0.9:
        slope_x, slope_y = ripple(lx, ly)
        scale = 1.0 / math.sqrt(1.0 + slope_x * slope_x + slope_y * slope_y)
        nx, ny, nz = -slope_x * scale, -slope_y * scale, scale
    nl = nx * _SUN[0] + ny * _SUN[1] + nz * _SUN[2]
    nv = max(-(nx * dx + ny * dy + nz * dz), 1e-3)
    sun *= max(nl, 0.0)

    hx, hy, hz = _SUN[0] - dx, _SUN[1] - dy, _SUN[2] - dz
    length = math.sqrt(hx * hx + hy * hy + hz * hz) + 1e-12
    nh, vh = (nx * hx + ny * hy + nz * hz) / length, -(dx * hx + dy * hy + dz * hz) / length
    f0, roughness = rows[which, REFLECTANCE], rows[which, ROUGHNESS]
    gloss = 0.0
    if nl > 0.0 and nh > 0.0:
        gloss = (f0 + (1.0 - f0) * (1.0 - max(vh, 0.0)) ** 5) * _highlight(nh, nl, nv, roughness) * sun
    # Fresnel term for a rough surface under a whole sky (S. Lagarde 2011)
    mirror = (f0 + max(1.0 - roughness - f0, 0.0) * (1.0 - nv) ** 5) * open_sky
    sky_r, sky_g, sky_b = _sky(dz + 2.0 * nv * nz)
    dome_r, dome_g, dome_b = _sky(0.7 * nz)
    metal = 1.0 if f0 > 0.2 else 0.0  # paint mirrors white, metal its own colour
    return (
        _channel(red, _SUN_COLOUR[0], sun, gloss, sky_r * mirror, dome_r * open_sky, f0, metal),
        _channel(green, _SUN_COLOUR[1], sun, gloss, sky_g * mirror, dome_g * open_sky, f0, metal),
        _channel(blue, _SUN_COLOUR[2], sun, gloss, sky_b * mirror, dome_b * open_sky, f0, metal),
    )


@compiled
def _pixel(scene, c2w, u, v, focal, supersample):
    """Mean colour and depth of the rays of a pixel that meet the scene, and the part of them that do."""
    red, green, blue, depth, hits = 0.0, 0.0, 0.0, 0.0, 0
    lit, mx, my, mz, sun, open_sky = -1, 0.0, 0.0, 0.0, 0.0, 0.0
    for s in range(supersample * supersample):
        cx = (u + (s % supersample + 0.5) / supersample) / focal
        cy = -(v + (s // supersample + 0.5) / supersample) / focal
        scale = 1.0 / math.sqrt(cx * cx + cy * cy + 1.0)
        dx = (c2w[0, 0] * cx + c2w[0, 1] * cy - c2w[0, 2]) * scale
        dy = (c2w[1, 0] * cx + c2w[1, 1] * cy - c2w[1, 2]) * scale
        dz = (c2w[2, 0] * cx + c2w[2, 1] * cy - c2w[2, 2]) * scale
        t, which = _march(scene, c2w[0, 3], c2w[1, 3], c2w[2, 3], dx, dy, dz)
        if which < 0:
            continue
        x, y, z = c2w[0, 3] + t * dx, c2w[1, 3] + t * dy, c2w[2, 3] + t * dz
        nx, ny, nz = _normal(scene, x, y, z)
        # light varies slowly: once a pixel is enough for each side of each shape
        if which != lit or nx * mx + ny * my + nz * mz < 0.95:
            lit, mx, my, mz = which, nx, ny, nz
            sun = _sunlight(scene, x + 2e-3 * nx, y + 2e-3 * ny, z + 2e-3 * nz)
            open_sky = _skylight(scene, x, y, z, nx, ny, nz)
        r, g, b = _shade(scene.rows, which, x, y, z, nx, ny, nz, dx, dy, dz, sun, open_sky)
        # encoded values are averaged, as a radiance field trained on photos sums them along a ray
        red, green, blue, depth, hits = red + r, green + g, blue + b, depth + t, hits + 1
    n = max(hits, 1)
    return red / n, green / n, blue / n, hits / (supersample * supersample), depth / n


# in a prange body numba does not count references to arrays; elsewhere that costs twice the tracing itself
@njit(cache=True, parallel=True, fastmath=True, error_model="numpy")
def _trace_pixels(scene, c2w, focal, supersample, rgba, depth):
    """Fill `rgba` (un-premultiplied) and `depth`."""
    height, width = depth.shape
    for i in prange(height):
        for j in range(width):
            r, g, b, a, t = _pixel(scene, c2w, j - 0.5 * width, i - 0.5 * height, focal, supersample)
            rgba[i, j, 0], rgba[i, j, 1], rgba[i, j, 2], rgba[i, j, 3], depth[i, j] = r, g, b, a, t


def trace_view(
    scene: Scene,
    c2w: np.ndarray,
    *,
    camera_angle_x: float,
    size: tuple[int, int],
    supersample: int = 3,
) -> tuple[np.ndarray, np.ndarray]:
    """Photograph a scene with a pinhole camera whose axis goes through the middle of the photo.

    Parameters
    ----------
    scene : Scene
        From ``build_scene``.
    c2w : array [4, 4]
        Camera to world, OpenGL axes (+X right, +Y up, -Z forward).
    camera_angle_x : float
        Horizontal field of view in radians.
    size : (width, height)
        In pixels.
    supersample : int
        Rays a pixel along each axis, at the middles of equal squares.

    Returns
    -------
    rgba : float32 [height, width, 4]
        sRGB in [0, 1], not multiplied by alpha; alpha is the part of the pixel that the scene covers.
    depth : float32 [height, width]
        Mean distance from the camera along the rays that met the scene; 0 where none did.
    """
    width, height = size
    focal = 0.5 * width / math.tan(0.5 * camera_angle_x)
    rgba, depth = np.zeros((height, width, 4), np.float32), np.zeros((height, width), np.float32)
    _trace_pixels(scene, np.ascontiguousarray(c2w, dtype=np.float64), focal, supersample, rgba, depth)
    return rgba, depth
