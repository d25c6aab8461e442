"""Intel Lava (fixed-point Loihi simulation) as a target: lowering, deployment folder, managed environment."""
