"""The pages in a browser: nothing goes wrong, nothing is asked of anybody, and switches switch."""

import html
import json
import re
import shutil
import subprocess

import pytest
from made_up import make_comparison, make_folder

from jkd import run
from jkd.report.page import of_run

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(BROWSER is None, reason="needs a browser: apt-get install chromium"),
]

DRIVER = """
<script>
const report = {};
const until = async (holds) => { while (!holds()) await new Promise((done) => setTimeout(done, 20)); };
const shown = (name) => {
  const traces = document.getElementById(name).data;
  return traces.filter((trace) => trace.visible === true && trace.name).map((trace) => trace.name);
};
const press = async (selector, name) => {
  document.querySelector(selector).click();
  await new Promise((done) => setTimeout(done, 200));
};
(async () => {
  await until(() => document.body.dataset.drawn);
  const plots = [...document.querySelectorAll(".plot")];
  report.plots = plots.map((div) => [div.id, !!div.querySelector(".main-svg")]);
  report.asked = performance.getEntriesByType("resource").map((entry) => entry.name);
  report.asked = report.asked.filter((name) => !/^(data|blob):/.test(name));
  report.ground = [getComputedStyle(document.body).backgroundColor];
  report.wide = document.documentElement.scrollWidth - innerWidth;
  STEPS
  const told = document.createElement("pre");
  told.id = "told";
  told.textContent = JSON.stringify(report);
  document.body.append(told);
})();
</script>"""


def look(page, tmp_path, steps="", width=1200, dark=False):
    """Opens a page, presses what `steps` say, and returns what was seen."""
    driven = page.with_name("driven.html")
    driven.write_text(page.read_text() + DRIVER.replace("STEPS", steps))
    command = [
        BROWSER,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]
    command += [
        f"--window-size={width},1500",
        "--virtual-time-budget=30000",
        "--enable-logging=stderr",
        "--v=0",
    ]
    command += ["--blink-settings=preferredColorScheme=0"] if dark else []
    done = subprocess.run(
        [*command, "--dump-dom", f"file://{driven}"], capture_output=True, text=True, timeout=300
    )
    driven.unlink()
    assert "CONSOLE" not in done.stderr, [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    found = re.search(r'<pre id="told">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr[-2000:]
    seen = json.loads(html.unescape(found[1]))
    assert not seen["asked"], "a page asks nothing of anybody"
    assert seen["plots"] and all(drawn for _, drawn in seen["plots"])
    assert seen["wide"] <= 0, "nothing stands out at a side"
    return seen


def test_a_run(tmp_path):
    make_folder(tmp_path / "run")
    page = of_run.write(run.read(tmp_path / "run"))
    steps = """
      report.before = shown("accuracy");
      const item = [...document.querySelectorAll("#accuracy .legendtoggle")][1];
      item.dispatchEvent(new MouseEvent("mousedown", {bubbles: true}));
      item.dispatchEvent(new MouseEvent("mouseup", {bubbles: true}));
      await until(() => shown("accuracy").length !== report.before.length);
      report.after = shown("accuracy");
      await press("#theme");
      report.kept = shown("accuracy");
      report.ground.push(getComputedStyle(document.body).backgroundColor);
      const heading = document.querySelector("table.sortable th:nth-child(2)");
      const first = () => document.querySelector("table.sortable tbody td").textContent;
      heading.click(); report.sorted = [first()]; heading.click(); report.sorted.push(first());
      report.student = document.getElementById("accuracy").data[0].y.at(-1);
    """
    seen = look(page, tmp_path, steps)
    assert {name for name, _ in seen["plots"]} >= {"accuracy", "loss", "weights_0", "classes_0", "per_class"}
    assert len(set(seen["before"]) ^ set(seen["after"])) == 1, "a press on the legend switches one line"
    assert seen["kept"] == seen["after"], "and it stays so in other colours"
    assert seen["ground"] == ["rgb(255, 255, 255)", "rgb(20, 23, 27)"]
    assert seen["sorted"] == ["ensemble", "vgg13-seed0"]
    last = run.read(tmp_path / "run").summary["last"]["test/top1"]
    assert seen["student"] == pytest.approx(last, abs=1e-6)
    assert look(page, tmp_path, dark=True)["ground"] == ["rgb(20, 23, 27)"]
    look(page, tmp_path, width=500)  # the least that its window can be


def test_a_run_without_teachers(tmp_path):
    make_folder(tmp_path / "run", "scratch")
    seen = look(of_run.write(run.read(tmp_path / "run")), tmp_path)
    assert "accuracy" in {name for name, _ in seen["plots"]}
    assert not [name for name, _ in seen["plots"] if name.startswith("weights")], "nobody is listened to"


def test_a_comparison(tmp_path):
    made = make_comparison(tmp_path / "compared")
    steps = """
      report.shown = [shown("accuracy")];
      for (const switched of ["method camkd", "show single runs", "seed 1", "method camkd"]) {
        const [name, ...words] = switched.split(" ");
        await press(`input[name="${name}"][value="${words.join(" ")}"]`);
        report.shown.push(shown("accuracy"));
      }
      const first = () => document.querySelector("#table_methods tbody td").textContent;
      const heading = document.querySelector("#table_methods th");
      heading.click(); report.sorted = [first()]; heading.click(); report.sorted.push(first());
    """
    seen = look(tmp_path / "compared" / "report.html", tmp_path, steps)
    levels = [name for name in seen["shown"][0] if name.startswith("teacher")]
    named = [[name for name in names if name not in levels] for names in seen["shown"]]
    assert named[0] == ["aver", "camkd"] and len(levels) == 3
    assert named[1] == ["aver"]
    assert named[2] == ["aver", "aver, seed 0", "aver, seed 1"]
    assert named[3] == ["aver", "aver, seed 0"]
    assert named[4] == ["aver", "aver, seed 0", "camkd", "camkd, seed 0"]
    assert seen["sorted"] == ["camkd", "aver"]
    assert {"accuracy", "differences", "cost_0", "published"} <= {name for name, _ in seen["plots"]}
    assert made.finished
