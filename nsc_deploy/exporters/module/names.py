"""Names of a graph as Python identifiers."""

import builtins
import keyword
import re

# Public names of torch.nn.Module, whose places no layer may take, and names the templates use.
_MODULE = """
add_module apply bfloat16 buffers call_super_init children compile cpu cuda double dump_patches eval
extra_repr float forward get_buffer get_extra_state get_parameter get_submodule half ipu
load_state_dict modules mtia named_buffers named_children named_modules named_parameters parameters
register_backward_hook register_buffer register_forward_hook register_forward_pre_hook
register_full_backward_hook register_full_backward_pre_hook register_load_state_dict_post_hook
register_load_state_dict_pre_hook register_module register_parameter register_state_dict_post_hook
register_state_dict_pre_hook requires_grad_ set_extra_state set_submodule share_memory state_dict to
to_empty train training type xpu zero_grad
"""
_TEMPLATE = """
self frame state after values outputs output samples step rest load load_file torch nn snn surrogate threshold
reset_subtract reset_value Path Network NODES Comparator Current Delay Integrator Neuron Scale Slices leaky
leaky_step integrate_step
"""
_TAKEN = frozenset(
    [*_MODULE.split(), *_TEMPLATE.split(), *keyword.kwlist, *keyword.softkwlist, *dir(builtins)]
)


class Namer:
    """Hands out Python identifiers, every one of them once."""

    def __init__(self) -> None:
        self._used = set(_TAKEN)

    def take(self, name: str) -> str:
        """An identifier as near to a name as may be."""
        plain = re.sub(r"\W", "_", name, flags=re.ASCII)
        wanted = plain if re.match(r"[A-Za-z]", plain) else f"n_{plain}"
        free, number = wanted, 2
        while free in self._used:
            free = f"{wanted}_{number}"
            number += 1
        self._used.add(free)
        return free
