// The identity provider of the demonstration and the tests: real OpenID Connect, sample people, loopback only.
//
// Run: node provider.ts CONFIG.json        (Node strips the types; nothing is built)
//
// CONFIG.json, all paths absolute:
//   port                        where it listens, on 127.0.0.1
//   issuer                      the name it signs as, such as https://identity.aisc.example
//   client_id                   the portal's client id
//   client_secret_file          file that holds the client's secret
//   redirect_uris               where a sign-in may return to
//   post_logout_redirect_uris   where a sign-out may return to
//   people_file                 people.json: who can sign in; read again whenever it changes
//   state_dir                   folder for the signing and cookie keys, sign-ins and tokens, kept over restarts
//   modules                     folder whose node_modules holds oidc-provider
//   look_dir                    folder of tokens.css and components.css

import { createHash, generateKeyPairSync, randomBytes, timingSafeEqual } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

type Config = {
  port: number;
  issuer: string;
  client_id: string;
  client_secret_file: string;
  redirect_uris: string[];
  post_logout_redirect_uris: string[];
  people_file: string;
  state_dir: string;
  modules: string;
  look_dir: string;
};

type Person = {
  id: string;
  name: string;
  password: string;
  role: string;
  groups: string[];
  second_factor: boolean;
  email: string;
};

const HOUR = 3600;
const WORKDAY = 8 * HOUR;
const TRIES = 5; // wrong passwords for one account ...
const TRIES_MS = 60_000; // ... within this time, then it has to wait

function fail(sentence: string): never {
  process.stderr.write(`identity provider: ${sentence}\n`);
  process.exit(1);
}

function readJson<T>(path: string): T {
  try {
    return JSON.parse(readFileSync(path, "utf8")) as T;
  } catch (error) {
    return fail(`cannot read ${path}: ${(error as Error).message}`);
  }
}

const config = readJson<Config>(process.argv[2] ?? fail("name the configuration file as the only argument"));

// People

let people = new Map<string, Person>();
let peopleRead = -1;

function person(id: string): Person | undefined {
  const changed = statSync(config.people_file).mtimeMs;
  if (changed !== peopleRead) {
    people = new Map(readJson<Person[]>(config.people_file).map((one) => [one.id, one]));
    peopleRead = changed;
  }
  return people.get(id);
}

function claimsOf(one: Person): Record<string, unknown> {
  return { sub: one.id, name: one.name, email: one.email, email_verified: true, groups: one.groups };
}

// Passwords

const wrong = new Map<string, number[]>();

function recentlyWrong(id: string, now: number): number[] {
  const recent = (wrong.get(id) ?? []).filter((at) => now - at < TRIES_MS);
  if (recent.length) wrong.set(id, recent);
  else wrong.delete(id);
  return recent;
}

function noteWrong(id: string, now: number): void {
  for (const known of [...wrong.keys()]) recentlyWrong(known, now);
  if (wrong.size < 10_000) wrong.set(id, [...recentlyWrong(id, now), now]);
}

function samePassword(given: string, real: string): boolean {
  const digest = (text: string) => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(given), digest(real));
}

// Keys, kept in a file: a new key under an old name would make the portal refuse every sign-in until its restart

type Keys = { jwks: { keys: Record<string, string>[] }; cookies: string[] };

function keys(): Keys {
  mkdirSync(config.state_dir, { recursive: true, mode: 0o700 });
  const path = join(config.state_dir, "keys.json");
  try {
    return JSON.parse(readFileSync(path, "utf8")) as Keys;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") fail(`cannot read ${path}: ${(error as Error).message}`);
  }
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const jwk = privateKey.export({ format: "jwk" }) as Record<string, string>;
  const thumbprint = createHash("sha256").update(JSON.stringify({ e: jwk.e, kty: jwk.kty, n: jwk.n }));
  const made: Keys = {
    jwks: { keys: [{ ...jwk, kid: thumbprint.digest("base64url"), use: "sig", alg: "RS256" }] },
    cookies: [randomBytes(32).toString("hex")],
  };
  writeFileSync(path, JSON.stringify(made), { mode: 0o600 });
  return made;
}

// Sign-ins and tokens, kept in a file as well: a restart signs nobody out

type Stored = { payload: Record<string, any>; expires: number };

const storePath = () => join(config.state_dir, "sign-ins.json");
const store = new Map<string, Stored>();
let saving: NodeJS.Timeout | undefined;

function loadStore(): void {
  try {
    for (const [key, one] of JSON.parse(readFileSync(storePath(), "utf8")) as [string, Stored][]) store.set(key, one);
  } catch {
    // none yet, or cut off by a power cut: people sign in again
  }
}

function saveStore(): void {
  clearTimeout(saving);
  saving = undefined;
  for (const [key, one] of store) if (one.expires < Date.now()) store.delete(key);
  writeFileSync(`${storePath()}.new`, JSON.stringify([...store]), { mode: 0o600 });
  renameSync(`${storePath()}.new`, storePath());
}

const saveSoon = () => (saving ??= setTimeout(saveStore, 200));

class Adapter {
  model: string;

  constructor(model: string) {
    this.model = model;
  }

  key(id: string): string {
    return `${this.model}:${id}`;
  }

  async upsert(id: string, payload: Record<string, any>, expiresIn: number): Promise<void> {
    store.set(this.key(id), { payload, expires: Date.now() + expiresIn * 1000 });
    saveSoon();
  }

  async find(id: string): Promise<Record<string, any> | undefined> {
    const one = store.get(this.key(id));
    return one && one.expires > Date.now() ? one.payload : undefined;
  }

  async findByUid(uid: string): Promise<Record<string, any> | undefined> {
    for (const [key, one] of store) {
      if (key.startsWith(`${this.model}:`) && one.payload.uid === uid) return one.payload;
    }
    return undefined;
  }

  async findByUserCode(): Promise<undefined> {
    return undefined;
  }

  async consume(id: string): Promise<void> {
    const one = store.get(this.key(id));
    if (one) one.payload.consumed = Math.floor(Date.now() / 1000);
    saveSoon();
  }

  async destroy(id: string): Promise<void> {
    store.delete(this.key(id));
    saveSoon();
  }

  async revokeByGrantId(grantId: string): Promise<void> {
    for (const [key, one] of store) if (one.payload.grantId === grantId) store.delete(key);
    saveSoon();
  }
}

// Pages

const ESCAPES: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
const escape = (text: string) => text.replace(/[&<>"']/g, (letter) => ESCAPES[letter]!);

function page(title: string, body: string): string {
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>${title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="/look/tokens.css"><link rel="stylesheet" href="/look/components.css">
<link rel="icon" href="data:,"></head><body>
<header class="page-header"><div class="page-header-inner"><span class="site-name">Sample identity provider
<span lang="zh-Hant-HK">身分提供者（示範）</span></span></div></header>
<main class="page page-centred">${body}</main></body></html>`;
}

function signInPage(uid: string, name = "", error = ""): string {
  return page(
    "Sign in",
    `<h1 class="page-title">Sign in <span lang="zh-Hant-HK">登入</span></h1>
<p class="lede">This page stands in for your organisation's own sign-in.
<span lang="zh-Hant-HK">此頁代表你所屬機構的登入頁。</span></p>
${error ? `<div class="notice notice-attention" role="alert"><p>${error}</p></div>` : ""}
<form method="post" action="/interaction/${uid}">
<div class="field"><label for="login">Name <span lang="zh-Hant-HK">登入名稱</span></label>
<input id="login" name="login" value="${escape(name)}" autocomplete="username" autocapitalize="none" required autofocus></div>
<div class="field"><label for="password">Password <span lang="zh-Hant-HK">密碼</span></label>
<input id="password" name="password" type="password" autocomplete="current-password" required></div>
<div class="actions"><button class="button" type="submit">Continue <span lang="zh-Hant-HK">繼續</span></button></div>
</form>`,
  );
}

function phonePage(uid: string, one: Person): string {
  return page(
    "Confirm on your phone",
    `<h1 class="page-title">Confirm on your phone <span lang="zh-Hant-HK">請在手機確認</span></h1>
<p class="lede">Signing in as ${escape(one.name)}. The button stands in for the second device.
<span lang="zh-Hant-HK">此按鈕代表你的第二部裝置。</span></p>
<form method="post" action="/interaction/${uid}/phone">
<div class="actions"><button class="button" type="submit" autofocus>Confirm <span lang="zh-Hant-HK">確認</span></button></div>
</form>`,
  );
}

function endedPage(): string {
  return page(
    "This sign-in has ended",
    `<h1 class="page-title">This sign-in has ended <span lang="zh-Hant-HK">登入程序已結束</span></h1>
<p>It took too long, or was finished in another window. Go back to the portal and press Sign in again.</p>
<p lang="zh-Hant-HK">程序逾時，或已在另一視窗完成。請返回入門網站再按「登入」。</p>`,
  );
}

// The provider

const modules = createRequire(join(config.modules, "package.json"));
const { Provider } = await import(pathToFileURL(modules.resolve("oidc-provider")).href);
const kept = keys();
loadStore();

const provider = new Provider(config.issuer, {
  adapter: Adapter,
  clients: [
    {
      client_id: config.client_id,
      client_secret: readFileSync(config.client_secret_file, "utf8").trim(),
      redirect_uris: config.redirect_uris,
      post_logout_redirect_uris: config.post_logout_redirect_uris,
      grant_types: ["authorization_code", "refresh_token"],
      response_types: ["code"],
    },
  ],
  jwks: kept.jwks,
  // browsers share cookies between ports: two demonstrations at once must not share names
  cookies: {
    keys: kept.cookies,
    names: {
      session: `idp_session_${config.port}`,
      interaction: `idp_interaction_${config.port}`,
      resume: `idp_resume_${config.port}`,
    },
  },
  scopes: ["openid", "profile", "email", "groups"],
  // amr and auth_time reach the ID token only as claims of a scope
  claims: {
    openid: ["sub", "acr", "amr", "auth_time"],
    profile: ["name"],
    email: ["email", "email_verified"],
    groups: ["groups"],
  },
  conformIdTokenClaims: false,
  pkce: { required: () => true },
  responseTypes: ["code"],
  ttl: {
    AccessToken: HOUR,
    AuthorizationCode: 60,
    Grant: WORKDAY,
    IdToken: HOUR,
    Interaction: 600,
    RefreshToken: WORKDAY,
    Session: WORKDAY,
  },
  issueRefreshToken: async () => true,
  rotateRefreshToken: false,
  features: {
    devInteractions: { enabled: false },
    rpInitiatedLogout: { enabled: true, logoutSource: logoutPage, postLogoutSuccessSource: loggedOutPage },
  },
  interactions: { url: (_ctx: unknown, interaction: { uid: string }) => `/interaction/${interaction.uid}` },
  findAccount: async (_ctx: unknown, id: string) => {
    const one = person(id);
    return one && { accountId: id, claims: async () => claimsOf(one) };
  },
  // our own portal needs no consent page
  loadExistingGrant: async (ctx: any) => {
    const grant = new ctx.oidc.provider.Grant({
      clientId: ctx.oidc.client.clientId,
      accountId: ctx.oidc.session.accountId,
    });
    grant.addOIDCScope("openid profile email groups");
    await grant.save();
    return grant;
  },
  renderError: async (ctx: any, out: { error: string; error_description?: string }) => {
    ctx.type = "html";
    ctx.body = page(
      "Sign-in failed",
      `<h1 class="page-title">Sign-in failed <span lang="zh-Hant-HK">登入失敗</span></h1>
<p>${escape(out.error_description ?? out.error)}</p>`,
    );
  },
});

async function logoutPage(ctx: any, form: string): Promise<void> {
  // the portal sends the ID token along: it is the portal that asks, so nobody needs to confirm
  const asked = Boolean(ctx.oidc.entities.IdTokenHint);
  ctx.type = "html";
  ctx.body = page(
    "Sign out",
    `<h1 class="page-title">Sign out <span lang="zh-Hant-HK">登出</span></h1>${form}
<div class="actions"><button class="button" type="submit" form="op.logoutForm" name="logout" value="yes" id="yes">
Sign out <span lang="zh-Hant-HK">登出</span></button></div>
${asked ? '<script>document.getElementById("yes").click()</script>' : ""}`,
  );
}

async function loggedOutPage(ctx: any): Promise<void> {
  ctx.type = "html";
  ctx.body = page(
    "Signed out",
    `<h1 class="page-title">You are signed out <span lang="zh-Hant-HK">你已登出</span></h1>`,
  );
}

// Our two forms

const passed = new Map<string, string>(); // interaction > account whose password was right

async function finish(req: IncomingMessage, res: ServerResponse, uid: string, id: string, amr: string[]): Promise<void> {
  passed.delete(uid);
  const acr = amr.includes("mfa") ? "mfa" : "pwd";
  await provider.interactionFinished(
    req,
    res,
    { login: { accountId: id, amr, acr, remember: false } },
    { mergeWithLastSubmission: false },
  );
}

async function form(req: IncomingMessage): Promise<URLSearchParams> {
  let body = "";
  for await (const part of req) {
    body += part;
    if (body.length > 10_000) throw new Error("form too long");
  }
  return new URLSearchParams(body);
}

function answer(res: ServerResponse, status: number, html: string): void {
  res.writeHead(status, {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src data:; frame-ancestors 'none'",
  });
  res.end(html);
}

async function signIn(req: IncomingMessage, res: ServerResponse, uid: string): Promise<void> {
  const fields = await form(req);
  const id = (fields.get("login") ?? "").trim().slice(0, 100);
  const now = Date.now();
  if (recentlyWrong(id, now).length >= TRIES) {
    const wait = `Too many wrong passwords. Wait a minute, then try again.
<span lang="zh-Hant-HK">密碼錯誤次數過多，請於一分鐘後再試。</span>`;
    return answer(res, 429, signInPage(uid, id, wait));
  }
  const one = person(id);
  if (!samePassword(fields.get("password") ?? "", one?.password ?? "") || !one) {
    noteWrong(id, now);
    const no = `Name or password is wrong. <span lang="zh-Hant-HK">登入名稱或密碼不正確。</span>`;
    return answer(res, 401, signInPage(uid, id, no));
  }
  wrong.delete(id);
  if (!one.second_factor) return finish(req, res, uid, id, ["pwd"]);
  if (passed.size > 1000) passed.clear();
  passed.set(uid, id);
  answer(res, 200, phonePage(uid, one));
}

async function interaction(req: IncomingMessage, res: ServerResponse, path: string): Promise<void> {
  const [, , uid = "", step = ""] = path.split("/");
  try {
    const details = await provider.interactionDetails(req, res); // its cookie proves that it is this browser's
    if (details.uid !== uid || details.prompt.name !== "login") throw new Error("another interaction");
  } catch {
    return answer(res, 400, endedPage());
  }
  const waiting = passed.get(uid);
  if (req.method === "POST" && step === "") return signIn(req, res, uid);
  if (req.method === "POST" && step === "phone" && waiting) return finish(req, res, uid, waiting, ["pwd", "otp", "mfa"]);
  const one = waiting === undefined ? undefined : person(waiting);
  answer(res, 200, one ? phonePage(uid, one) : signInPage(uid));
}

// The server

const handle = provider.callback();
const LOOKS = new Set(["/look/tokens.css", "/look/components.css"]);

const server = createServer((req, res) => {
  const path = (req.url ?? "/").split("?")[0]!;
  if (LOOKS.has(path)) {
    res.writeHead(200, { "Content-Type": "text/css", "Cache-Control": "max-age=300" });
    res.end(readFileSync(join(config.look_dir, path.slice("/look/".length))));
  } else if (path.startsWith("/interaction/")) {
    interaction(req, res, path).catch((error: Error) => {
      process.stderr.write(`identity provider: ${error.stack ?? error.message}\n`);
      if (!res.headersSent) answer(res, 500, endedPage());
    });
  } else {
    handle(req, res);
  }
});

server.on("error", (error: NodeJS.ErrnoException) =>
  fail(error.code === "EADDRINUSE" ? `port ${config.port} is taken; free it or choose another` : error.message),
);
server.listen(config.port, "127.0.0.1", () => process.stdout.write(`identity provider: ready on port ${config.port}\n`));

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  process.on(signal, () => {
    server.close();
    server.closeAllConnections();
    if (saving) saveStore();
    process.exit(0);
  });
}
