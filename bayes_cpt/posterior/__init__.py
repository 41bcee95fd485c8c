"""The posterior of a model as log densities that JAX compiles, and the same model in PyMC.

JAX is configured here, before anything is computed: double precision; evaluations run in the calling thread, since they
take milliseconds; and compiled functions are kept in the user's cache folder, or where ``JAX_COMPILATION_CACHE_DIR``
says. The folder is bounded, and JAX locks it, so that two processes can use it.
"""

import os

import jax
from platformdirs import user_cache_path

CACHE_BYTES = 2**29
"""Largest size of the cache folder; what was not used for longest is removed."""
SHORTEST = 0.2
"""Seconds of compiling above which a function is kept."""

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_cpu_enable_async_dispatch", False)
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    jax.config.update("jax_compilation_cache_dir", str(user_cache_path("bayes-cpt") / "compiled"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", SHORTEST)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
jax.config.update("jax_compilation_cache_max_size", CACHE_BYTES)
