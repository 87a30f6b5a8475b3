"""What a test run found out about half precision and plans, for the table at its end.

Thread: the test run's.
"""

PSNR_DB: dict[tuple[str, str], float] = {}  # by species and form: the worst picture, half precision against eager
PLANS: dict[tuple[str, str, str], tuple[float, float]] = {}  # by species, form and target: (MB, seconds of the build)


def table() -> list[str]:
    """A line for each plan that was built, and for each graph without one; none where nothing was found out."""
    keys = [*PLANS, *((*key, "") for key in PSNR_DB if key not in {plan[:2] for plan in PLANS})]
    if not keys:
        return []
    lines = [f"{'species':12} {'form':7} {'target':8} {'plan MB':>8} {'build s':>8} {'PSNR dB':>8}"]
    for name, form, target in sorted(keys):
        plan, psnr_db = PLANS.get((name, form, target)), PSNR_DB.get((name, form))
        cells = ["", ""] if plan is None else [f"{plan[0]:.1f}", f"{plan[1]:.2f}"]
        cells.append("" if psnr_db is None else f"{psnr_db:.1f}")
        lines.append(" ".join([f"{name:12} {form:7} {target:8}", *(f"{cell:>8}" for cell in cells)]))
    return lines
