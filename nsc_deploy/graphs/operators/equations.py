r"""Every update equation of the reference simulator, in the order in which it is computed.

Time is cut into steps of dt seconds; x[t] is the sum of a node's inputs at step t and every state is 0
before the first step. Each coefficient is computed in float64 from the float64 parameters and then
rounded once to the arithmetic of the simulation (float32 unless asked otherwise); each product and
each sum is rounded once, nothing is fused. The differential equations of NIR are stepped forward with
Euler's method, as the frameworks do that write NIR files.

```text
LIF      v = (1 - dt/tau) v + i                with i = (r dt/tau) x[t] + (dt/tau) v_leak
         s[t] = 1 if v > v_threshold
         v = v_reset where s[t]                (reset "zero", in the same step)
         v = v - v_threshold where s[t]        (reset "subtract", in the same step)
IF       v = v + (r dt) x[t], then s and the reset as for LIF
CubaLIF  u = (1 - dt/tau_syn) u + (w_in dt/tau_syn) x[t]
         v = (1 - dt/tau_mem) v + i            with i = (r dt/tau_mem) u + (dt/tau_mem) v_leak
         then s and the reset as for LIF
LI       v as for LIF, without spikes; y[t] = v
CubaLI   u and v as for CubaLIF, without spikes; y[t] = v
I        v = v + (r dt) x[t]; y[t] = v
Threshold  s[t] = 1 if x[t] > threshold
Delay    y[t] = x[t - delay/dt], 0 before that; delay/dt must be a whole number, each element has its own
Linear   y = W x                               Affine  y = (W x) + b
Conv1d, Conv2d  cross-correlation as in torch (stride, padding, dilation, groups), then + b
Scale    y = scale * x
SumPool2d  sum over the window, zeros around   AvgPool2d  the same, over the whole window's size
Flatten  x in another shape, counted without the batch
Output   x
```

A spike needs a potential strictly above the threshold. An edge in `Network.back_edges` delivers the
value of the step before, and 0 in the first step.
"""
