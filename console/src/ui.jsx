// Parts that several pages have.
import { useCallback, useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { drop, get, toasts } from "./api.js";

// useData asks for path, again every so many seconds, and at once when path or again changes.
export function useData(path, every = 0) {
  const [state, set] = useState({ data: null, problem: null, path: null });
  const [round, again] = useState(0);
  useEffect(() => {
    let live = true, timer;
    const run = async () => {
      if (!path) return;
      try {
        const data = await get(path);
        if (live) set({ data, problem: null, path });
      } catch (e) {
        if (live) set((s) => ({ data: s.path === path ? s.data : null, problem: e, path }));
      }
      if (live && every) timer = setTimeout(run, document.hidden ? every * 5000 : every * 1000);
    };
    run();
    return () => { live = false; clearTimeout(timer); };
  }, [path, every, round]);
  const fresh = state.path === path;
  return { data: fresh ? state.data : null, problem: fresh ? state.problem : null, again: () => again((n) => n + 1) };
}

export const Page = ({ title, sub, actions, children }) => {
  useEffect(() => { document.title = `${title} · port53`; }, [title]);
  return (
    <>
      <header class="head">
        <div><h1 tabIndex={-1} id="title">{title}</h1>{sub && <p class="sub">{sub}</p>}</div>
        {actions && <div class="actions">{actions}</div>}
      </header>
      {children}
    </>
  );
};

export const Trouble = ({ problem }) => problem && <p class="note error" role="alert">{problem.message || String(problem)}</p>;
export const Tag = ({ kind = "plain", children }) => <span class={`tag ${kind}`}>{children}</span>;
export const Empty = ({ children }) => <p class="empty">{children}</p>;
export const Loading = () => <p class="empty" aria-busy="true">…</p>;

// A Table of few rows.
export function Table({ label, columns, rows, onPick, keyOf, empty }) {
  if (!rows?.length) return <Empty>{empty || "There is nothing here."}</Empty>;
  return (
    <div class="scroll" role="region" aria-label={label} tabIndex={0}>
      <table>
        <caption class="off">{label}</caption>
        <thead><tr>{columns.map((c) => <th key={c.name} class={c.cls} scope="col">{c.name}</th>)}</tr></thead>
        <tbody>
          {rows.map((r, i) => (
            <tr key={keyOf ? keyOf(r) : i} class={onPick && "pick"} onClick={onPick && (() => onPick(r))}>
              {columns.map((c) => <td key={c.name} class={c.cls} data-label={c.name}>{c.cell(r)}</td>)}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

// The height that a browser gives an element at most is less than a million rows have: beyond this the bar
// moves over more than a row for each of its pixels.
const mostHeight = 6_000_000;

// Windowed shows the rows of a long list that are in sight. rows(i) returns one, or undefined while it is
// on its way; need(from, to) has them fetched.
export function Windowed({ label, total, row, rows, need, columns, onPick, version, height = 34, follow }) {
  const box = useRef();
  const [at, setAt] = useState({ top: 0, view: 600 });
  const [focus, setFocus] = useState(0);
  const whole = Math.min(total * height, mostHeight);
  const seen = Math.ceil(at.view / height);
  const room = whole - at.view;
  const first = room <= 0 ? 0 : whole === total * height ? Math.floor(at.top / height) : Math.round((Math.min(at.top, room) / room) * (total - seen));
  const from = Math.max(0, first - 4), to = Math.min(total, first + seen + 6);
  const shift = whole === total * height ? from * height : at.top - (first - from) * height;
  const measure = useCallback(() => box.current && setAt({ top: box.current.scrollTop, view: box.current.clientHeight }), []);
  useLayoutEffect(() => {
    measure();
    const o = new ResizeObserver(measure);
    o.observe(box.current);
    return () => o.disconnect();
  }, []);
  useEffect(() => { need?.(from, to); }, [from, to, version, total]);
  useEffect(() => { if (follow && box.current) box.current.scrollTop = 0; }, [version, follow]);
  const show = (i) => {
    const b = box.current, seenNow = Math.floor(b.clientHeight / height);
    setFocus(i);
    if (i < first || i >= first + seenNow) {
      const want = i < first ? i : i - seenNow + 1;
      b.scrollTop = whole === total * height ? want * height : (want / Math.max(1, total - seen)) * room;
    }
  };
  const key = (e) => {
    const page = Math.max(1, seen - 2);
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -total, End: total }[e.key];
    if (step !== undefined) {
      e.preventDefault();
      show(Math.max(0, Math.min(total - 1, focus + step)));
    } else if (e.key === "Enter" && onPick && e.target === box.current && rows(focus)) {
      e.preventDefault();
      onPick(rows(focus));
    }
  };
  const list = [];
  for (let i = from; i < to; i++) {
    const r = rows(i);
    list.push(
      <div key={i} id={`row-${i}`} role="row" aria-rowindex={i + 2} class={`row ${i === focus ? "at" : ""} ${r && onPick ? "pick" : ""}`}
        style={{ height: `${height}px` }} onClick={() => { setFocus(i); if (r && onPick) onPick(r); }}>
        {r ? row(r) : columns.map((c) => <span key={c.name} role="cell" class={`cell ${c.cls || ""}`}><i class="ghost" /></span>)}
      </div>,
    );
  }
  return (
    <div class="list">
      <div ref={box} class="window" role="grid" aria-label={label} aria-rowcount={total + 1} tabIndex={0} onScroll={measure} onKeyDown={key}
        aria-activedescendant={total ? `row-${focus}` : undefined}>
        <div role="rowgroup" class="rowhead"><div role="row" aria-rowindex={1} class="row">
          {columns.map((c) => <span key={c.name} role="columnheader" class={`cell ${c.cls || ""}`}>{c.name}</span>)}
        </div></div>
        <div role="rowgroup" class="rows" style={{ height: `${Math.max(whole, 1)}px` }}><div role="presentation" style={{ transform: `translateY(${shift}px)` }}>{list}</div></div>
      </div>
    </div>
  );
}

// usePages fetches parts of a list as they come into sight, and forgets those that are far away.
const pageSize = 200;
export function usePages(path, pick) {
  const store = useRef({ path: null, pages: new Map(), going: new Set() });
  const [state, set] = useState({ total: null, version: 0, problem: null, extra: null });
  const s = store.current;
  if (s.path !== path) Object.assign(s, { path, pages: new Map(), going: new Set() });
  const load = useCallback(async (p) => {
    const s = store.current;
    if (s.pages.has(p) || s.going.has(p)) return;
    s.going.add(p);
    const of = s.path;
    try {
      const d = await get(`${of}${of.includes("?") ? "&" : "?"}offset=${p * pageSize}&limit=${pageSize}`);
      if (store.current.path !== of) return;
      s.pages.set(p, pick(d));
      for (const old of s.pages.keys()) if (s.pages.size > 30 && Math.abs(old - p) > 5) s.pages.delete(old);
      set((x) => ({ total: d.total, version: x.version + 1, problem: null, extra: d }));
    } catch (e) {
      if (store.current.path === of) set((x) => ({ ...x, total: x.total ?? 0, problem: e }));
    } finally {
      s.going.delete(p);
    }
  }, []);
  useEffect(() => { set((x) => ({ ...x, total: null })); load(0); }, [path]);
  const wait = useRef();
  return {
    ...state,
    rows: (i) => s.pages.get(Math.floor(i / pageSize))?.[i % pageSize],
    need: (from, to) => {
      clearTimeout(wait.current); // whoever drags the bar over a million rows wants those where it stops
      wait.current = setTimeout(() => {
        for (let p = Math.floor(from / pageSize); p <= Math.floor(Math.max(from, to - 1) / pageSize); p++) load(p);
      }, 40);
    },
    again: () => { Object.assign(s, { pages: new Map(), going: new Set() }); load(0); set((x) => ({ ...x, version: x.version + 1 })); },
  };
}

// A Dialog takes the keyboard until it is closed, and gives it back.
export function Dialog({ title, onClose, children, wide }) {
  const d = useRef(), had = useRef(document.activeElement);
  useLayoutEffect(() => {
    const e = d.current;
    e.showModal();
    return () => { e.close(); had.current?.focus?.(); }; // nothing beside an open dialog takes the keyboard
  }, []);
  return (
    <dialog ref={d} class={wide ? "wide" : ""} aria-labelledby="dialog-title" onCancel={(e) => { e.preventDefault(); onClose(); }}
      onClick={(e) => e.target === d.current && onClose()}>
      <div class="sheet">
        <header><h2 id="dialog-title">{title}</h2><button type="button" class="quiet" aria-label="Close" onClick={onClose}>✕</button></header>
        {children}
      </div>
    </dialog>
  );
}

export const Toasts = () => (
  <div class="toasts" role="status" aria-live="polite">
    {toasts.value.map((t) => (
      <div key={t.id} class={`toast ${t.kind}`}>
        <span>{t.text}</span>
        {t.action && <button type="button" onClick={() => { drop(t.id); t.action.do(); }}>{t.action.name}</button>}
        <button type="button" class="quiet" aria-label="Dismiss" onClick={() => drop(t.id)}>✕</button>
      </div>
    ))}
  </div>
);

export const Search = ({ value, onInput, label = "Search" }) => (
  <input type="search" aria-label={label} placeholder={label} value={value} onInput={(e) => onInput(e.currentTarget.value)} spellcheck={false} autocomplete="off" />
);

export function useLater(value, ms = 200) {
  const [v, set] = useState(value);
  useEffect(() => { const t = setTimeout(() => set(value), ms); return () => clearTimeout(t); }, [value]);
  return v;
}

// Tree shows any JSON that the server tells.
export function Tree({ value }) {
  if (value === null || value === undefined || value === "") return <span class="dim">–</span>;
  if (typeof value !== "object") return <span class={typeof value === "number" ? "mono" : ""}>{String(value)}</span>;
  if (Array.isArray(value)) return value.length ? <ol class="tree">{value.map((v, i) => <li key={i}><Tree value={v} /></li>)}</ol> : <span class="dim">none</span>;
  return <dl class="tree">{Object.entries(value).map(([k, v]) => <div key={k}><dt>{k.replace(/_/g, " ")}</dt><dd><Tree value={v} /></dd></div>)}</dl>;
}
