// What the pages ask of the server, and who has signed in.
import { signal } from "@preact/signals";

export const me = signal(null); // what GET /auth says; null: not known yet
export const grants = signal(null); // what GET /v1 says
export const toasts = signal([]);

let lastToast = 0;
export function toast(text, kind = "ok", action) {
  const t = { id: ++lastToast, text, kind, action };
  toasts.value = [...toasts.value.filter((o) => !action || !o.action).slice(-3), t]; // the last is what can be undone
  setTimeout(() => drop(t.id), action ? 20000 : 6000);
}
export const drop = (id) => (toasts.value = toasts.value.filter((t) => t.id !== id));

export class Problem extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

export async function ask(method, path, body, headers = {}) {
  const init = { method, headers: { ...headers }, credentials: "same-origin" };
  if (body !== undefined) {
    init.body = JSON.stringify(body);
    init.headers["Content-Type"] = "application/json";
  }
  let r;
  try {
    r = await fetch(path, init);
  } catch {
    throw new Problem(0, "the server does not answer");
  }
  const text = await r.text();
  let data = null;
  try {
    data = text ? JSON.parse(text) : null;
  } catch {
    data = null;
  }
  if (!r.ok) {
    if (r.status === 401 && me.value?.name) await whoAmI();
    throw new Problem(r.status, data?.detail || data?.error || r.statusText || `status ${r.status}`);
  }
  return data;
}
export const get = (path) => ask("GET", path);
export const post = (path, body = {}) => ask("POST", path, body);

export async function whoAmI() {
  const who = await fetch("/auth", { credentials: "same-origin" }).then((r) => r.json());
  if (who.name) {
    const r = await fetch("/v1", { credentials: "same-origin" });
    grants.value = r.ok ? await r.json() : null;
  }
  me.value = who;
}

// Octets as the browser's API of passkeys wants them, and as JSON has them.
const toOctets = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
const toText = (octets) => btoa(String.fromCharCode(...new Uint8Array(octets))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

export async function signInByPasskey() {
  const { id, options } = await post("/auth/passkey/begin");
  options.challenge = toOctets(options.challenge);
  for (const c of options.allowCredentials || []) c.id = toOctets(c.id);
  const c = await navigator.credentials.get({ publicKey: options });
  const { clientDataJSON, authenticatorData, signature, userHandle } = c.response;
  await post("/auth/passkey/finish", {
    id,
    response: {
      id: c.id, rawId: toText(c.rawId), type: c.type, clientExtensionResults: c.getClientExtensionResults(),
      response: {
        clientDataJSON: toText(clientDataJSON), authenticatorData: toText(authenticatorData), signature: toText(signature),
        userHandle: userHandle ? toText(userHandle) : undefined,
      },
    },
  });
  await whoAmI();
}

export async function makePasskey(name) {
  const { id, options } = await post("/auth/passkeys/begin");
  options.challenge = toOctets(options.challenge);
  options.user.id = toOctets(options.user.id);
  for (const c of options.excludeCredentials || []) c.id = toOctets(c.id);
  const c = await navigator.credentials.create({ publicKey: options });
  await post("/auth/passkeys/finish", {
    id, name,
    response: {
      id: c.id, rawId: toText(c.rawId), type: c.type, clientExtensionResults: c.getClientExtensionResults(),
      response: { clientDataJSON: toText(c.response.clientDataJSON), attestationObject: toText(c.response.attestationObject), transports: c.response.getTransports?.() || [] },
    },
  });
  await whoAmI();
}

// Text for people.
export const count = (n) => (n ?? 0).toLocaleString("en");
export function octets(n) {
  for (const unit of ["B", "KiB", "MiB"]) {
    if (n < 1024) return `${n < 10 && unit !== "B" ? n.toFixed(1) : Math.round(n)} ${unit}`;
    n /= 1024;
  }
  return `${n.toFixed(1)} GiB`;
}
export function span(s) {
  s = Math.round(Math.abs(s));
  if (s < 90) return `${s} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  if (s < 129600) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86400)} days`;
}
export function ago(at) {
  if (!at) return "never";
  const s = (Date.now() - new Date(at)) / 1000;
  return s >= 0 ? `${span(s)} ago` : `in ${span(s)}`;
}
export function clock(at) {
  const d = new Date(at);
  const day = d.toDateString() === new Date().toDateString() ? "" : d.toLocaleDateString("en-CA") + " ";
  return day + d.toLocaleTimeString("en-GB");
}
export const zoneName = (z) => z.zone.replace(/(.)\.$/, "$1") + (z.view ? ` (${z.view})` : "");
