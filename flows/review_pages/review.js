"use strict";

const body = document.body;
const by = (id) => document.getElementById(id);
const said = by("said");

// Every button sends what it changes; what the catalog then holds is what the page shows.
async function send(edit, done) {
  said.className = "";
  said.textContent = "writing …";
  let answer;
  try {
    answer = await fetch(location.pathname, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(edit) });
  } catch {
    return refuse(["twinband review has ended; nothing was written"]);
  }
  const told = await answer.json();
  if (!answer.ok) return refuse(told.error);
  said.textContent = `written: ${told.written.join(", ") || "nothing"}`;
  done(told.recording);
}

function refuse(lines) {
  said.className = "wrong";
  said.textContent = lines.join("\n");
}

const decide = (decision) => {
  const reason = by("reason").value.trim();
  if (decision === "reject" && !reason) {
    by("reason").focus();
    return refuse(["a rejection needs a reason; say why"]);
  }
  send(decision === "reject" ? { decision, reason } : { decision }, () => {
    if (decision !== "undecided" && body.dataset.next) location.assign(`/recordings/${body.dataset.next}`);
    else location.reload();
  });
};

by("accept").addEventListener("click", () => decide("accept"));
by("reject").addEventListener("click", () => decide("reject"));
by("undecide").addEventListener("click", () => decide("undecided"));
by("tag").addEventListener("click", () => {
  const tags = by("tags").value.split(/[\s,]+/).filter(Boolean);
  send({ tags }, (recording) => (by("tags").value = recording.tags.join(" ")));
});

const spans = () => [...document.querySelectorAll("#spans li")].map(({ dataset }) => ({ from_s: Number(dataset.from), to_s: Number(dataset.to), reason: dataset.reason }));
for (const button of document.querySelectorAll(".keep"))
  button.addEventListener("click", () => {
    button.closest("li").remove();
    send({ leave_out: spans() }, () => location.reload());
  });
by("trim").addEventListener("click", () => {
  const span = { from_s: Number(by("from").value), to_s: Number(by("to").value), reason: by("why").value.trim() };
  if (by("from").value === "" || by("to").value === "" || !span.reason) return refuse(["say from when to when, and why"]);
  send({ leave_out: [...spans(), span].sort((a, b) => a.from_s - b.from_s) }, () => location.reload());
});

const film = by("film");
const here = () => (Number(by("player").dataset.start) + Number(by("scrub").value) / Number(by("player").dataset.fps)).toFixed(2);
const mark = (id) => film && (by(id).value = here());
by("from-here").addEventListener("click", () => mark("from"));
by("to-here").addEventListener("click", () => mark("to"));

// Four points: where visible things are seen, and where they belong. The visible image is bent along.
function startPoints(player) {
  const [width, height, fps, pairs] = ["width", "height", "fps", "pairs"].map((name) => Number(player.dataset[name]));
  const scale = Number(player.dataset.clipWidth) / width;
  const stack = by("stack");
  const shift = by("shift");
  const other = Object.assign(document.createElement("video"), { src: film.src, muted: true, preload: "auto", playsInline: true });
  const corners = [[0.2, 0.2], [0.8, 0.2], [0.8, 0.8], [0.2, 0.8]].map(([x, y]) => [x * width, y * height]);
  let moved = corners.map((point) => [...point]);

  // a registered recording has nothing to correct, so no points either
  const handles = (by("homography") ? corners : []).map((_, index) => {
    const handle = Object.assign(document.createElement("button"), { type: "button", className: "handle" });
    handle.setAttribute("aria-label", `point ${index + 1}; arrow keys move it`);
    handle.addEventListener("pointerdown", (event) => handle.setPointerCapture(event.pointerId));
    handle.addEventListener("pointermove", (event) => {
      if (!handle.hasPointerCapture(event.pointerId)) return;
      const box = stack.getBoundingClientRect();
      place(index, ((event.clientX - box.left) / box.width) * width, ((event.clientY - box.top) / box.height) * height);
    });
    handle.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-0.5, 0], ArrowRight: [0.5, 0], ArrowUp: [0, -0.5], ArrowDown: [0, 0.5] }[event.key];
      if (!step) return;
      place(index, moved[index][0] + step[0], moved[index][1] + step[1]);
      event.preventDefault();
      event.stopPropagation();
    });
    stack.append(handle);
    return handle;
  });

  // The eight numbers of the homography that takes four points to four others, by elimination.
  function through(from, to) {
    const rows = from.flatMap(([x, y], n) => {
      const [u, v] = to[n];
      return [[x, y, 1, 0, 0, 0, -u * x, -u * y, u], [0, 0, 0, x, y, 1, -v * x, -v * y, v]];
    });
    for (let column = 0; column < 8; column++) {
      const best = rows.slice(column).reduce((a, b) => (Math.abs(b[column]) > Math.abs(a[column]) ? b : a));
      rows.splice(rows.indexOf(best), 1, rows[column]);
      rows[column] = best;
      for (const row of rows) {
        if (row === best) continue;
        const share = row[column] / best[column];
        for (let k = column; k < 9; k++) row[k] -= share * best[k];
      }
    }
    return rows.map((row, n) => row[8] / row[n]);
  }

  function place(index, x, y) {
    moved[index] = [Math.min(width, Math.max(0, x)), Math.min(height, Math.max(0, y))];
    bend();
  }

  function bend() {
    const shown = stack.getBoundingClientRect().width / width;
    const [a, b, c, d, e, f, g, h] = through(corners, moved);
    const k = shown;
    by("over").style.transform = `matrix3d(${[a, d, 0, g / k, b, e, 0, h / k, 0, 0, 1, 0, c * k, f * k, 0, 1].join(",")})`;
    handles.forEach((handle, n) => {
      handle.style.left = `${(100 * moved[n][0]) / width}%`;
      handle.style.top = `${(100 * moved[n][1]) / height}%`;
    });
  }

  function paint() {
    by("under").getContext("2d").drawImage(film, 0, 0, width, height, 0, 0, width, height);
    by("over").getContext("2d").drawImage(other, width, 0, width, height, 0, 0, width, height);
  }

  function follow() {
    const pair = Number(by("scrub").value) + Number(shift?.value ?? 0);
    other.currentTime = (Math.min(pairs - 1, Math.max(0, pair)) + 0.5) / fps;
  }

  film.addEventListener("seeked", follow);
  film.addEventListener("pause", follow);
  other.addEventListener("seeked", paint);
  other.addEventListener("loadeddata", follow);
  window.addEventListener("resize", bend);
  shift?.addEventListener("input", follow);
  by("reset")?.addEventListener("click", () => {
    moved = corners.map((point) => [...point]);
    bend();
  });
  by("offset")?.addEventListener("click", () => {
    const offset_s = Number(player.dataset.offset) - Number(shift.value) / fps;
    send({ offset_s }, () => undefined);
  });
  by("homography")?.addEventListener("click", () => {
    const real = (points) => points.map((point) => point.map((value) => (value + 0.5) * scale - 0.5));
    send({ correction: { clip: player.dataset.clip, seen_at: real(corners), belong_at: real(moved) } }, () => undefined);
  });
  bend();
}

if (by("player")) startPoints(by("player"));

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.target.matches("input, select, textarea")) return;
  const act = { a: () => decide("accept"), r: () => decide("reject"), u: () => decide("undecided"), n: () => by("onward")?.click(), i: () => mark("from"), o: () => mark("to") }[event.key];
  if (!act) return;
  act();
  event.preventDefault();
});
