import './style.css';
import { Schemas, type Content, type Document, type Field, type Operation, type Schema, type SecurityScheme } from './document';

/** Objects in objects are shown down to here; below, the type's name has to do. */
const NESTING_MAX = 4;

type Child = Node | string | false | undefined;

function element<K extends keyof HTMLElementTagNameMap>(tag: K, attributes: Record<string, string>, ...children: Child[]) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children.filter((child): child is Node | string => child !== false && child !== undefined));
  return made;
}

/** A text of the document: what stands between backticks is code. */
function prose(text: string): Node[] {
  return text.split('`').map((part, index) => (index % 2 === 1 ? element('code', {}, part) : document.createTextNode(part)));
}

function json(value: unknown): HTMLElement {
  return element('pre', { tabindex: '0' }, element('code', {}, JSON.stringify(value, null, 2)));
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}

class Page {
  private readonly schemas: Schemas;
  private readonly schemes: Record<string, SecurityScheme>;

  constructor(private readonly api: Document) {
    this.schemas = new Schemas(api.components?.schemas ?? {});
    this.schemes = api.components?.securitySchemes ?? {};
  }

  render(): Node[] {
    const { title, version, description } = this.api.info;
    return [
      element(
        'header',
        {},
        element('h1', {}, title, ' ', element('small', {}, version)),
        element('p', {}, ...prose(description ?? '')),
        element('p', {}, element('a', { href: '/api/openapi.json' }, 'The OpenAPI document')),
        this.filter(),
        this.credentials(),
      ),
      ...this.sections(),
    ];
  }

  /** Hides the operations that do not contain what is typed. */
  private filter(): HTMLElement {
    const input = element('input', { type: 'search', placeholder: 'Filter operations', 'aria-label': 'Filter operations' });
    input.addEventListener('input', () => {
      const wanted = input.value.trim().toLowerCase();
      for (const operation of document.querySelectorAll<HTMLElement>('details.operation')) {
        operation.hidden = !operation.dataset.text?.includes(wanted);
      }
      for (const section of document.querySelectorAll<HTMLElement>('section')) {
        section.hidden = section.querySelector('details.operation:not([hidden])') === null;
      }
    });
    return input;
  }

  private credentials(): HTMLElement {
    const rows = Object.entries(this.schemes).map(([name, scheme]) => {
      const place = scheme.type === 'http' ? 'Authorization: Bearer' : `${scheme.in} ${scheme.name}`;
      return element('li', {}, element('strong', {}, name), ': ', element('code', {}, place), ' ', ...prose(scheme.description ?? ''));
    });
    return element('details', {}, element('summary', {}, 'Credentials'), element('ul', {}, ...rows));
  }

  private sections(): HTMLElement[] {
    const all = Object.entries(this.api.paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
    );
    const described = this.api.tags ?? [];
    const names = new Set([...described.map((tag) => tag.name), ...all.map(({ operation }) => operation.tags?.[0] ?? 'other')]);
    return [...names].map((name) => {
      const own = all.filter(({ operation }) => (operation.tags?.[0] ?? 'other') === name);
      const description = described.find((tag) => tag.name === name)?.description;
      return element(
        'section',
        { 'aria-label': name },
        element('h2', {}, name, ' ', element('small', {}, description ?? '')),
        ...own.map(({ path, method, operation }) => this.operation(path, method, operation)),
      );
    });
  }

  /** One operation; its inside is made when it is opened. */
  private operation(path: string, method: string, operation: Operation): HTMLElement {
    const details = element(
      'details',
      { class: 'operation', id: operation.operationId },
      element(
        'summary',
        {},
        element('span', { class: `method ${method}` }, method.toUpperCase()),
        ' ',
        element('code', { class: 'path' }, path),
        ' ',
        element('span', {}, operation.summary ?? ''),
      ),
    );
    details.dataset.text = `${method} ${path} ${operation.operationId} ${operation.summary ?? ''}`.toLowerCase();
    details.addEventListener('toggle', () => details.append(...this.inside(path, method, operation)), { once: true });
    return details;
  }

  private inside(path: string, method: string, operation: Operation): Node[] {
    const body = operation.requestBody?.content;
    return [
      element('p', {}, ...prose(operation.description ?? '')),
      element('p', {}, 'Credential: ', this.credentialsOf(operation)),
      ...this.parameters(operation),
      ...(body ? [element('h3', {}, 'Request'), ...this.content(body)] : []),
      element('h3', {}, 'Call'),
      element('pre', { tabindex: '0' }, element('code', {}, this.command(path, method, operation))),
      element('h3', {}, 'Responses'),
      ...Object.entries(operation.responses).map(([status, response]) =>
        element(
          'details',
          { class: 'response', ...(status.startsWith('2') ? { open: '' } : {}) },
          element('summary', {}, element('strong', {}, status), ' ', ...prose(response.description)),
          ...this.content(response.content ?? {}, Number(status)),
        ),
      ),
    ];
  }

  private credentialsOf(operation: Operation): string {
    const names = (operation.security ?? []).map((choice) => Object.keys(choice).join(' and ') || 'none');
    return names.length > 0 ? names.join(' or ') : 'none';
  }

  private parameters(operation: Operation): Node[] {
    const parameters = operation.parameters ?? [];
    if (parameters.length === 0) return [];
    const fields = parameters.map((parameter) => {
      const schema = { ...this.schemas.resolve(parameter.schema ?? {}), description: parameter.description };
      return { name: `${parameter.name} (${parameter.in})`, required: parameter.required ?? false, schema };
    });
    return [element('h3', {}, 'Parameters'), this.fields(fields, 0)];
  }

  /** Fields and an example of a body. Bodies of answers repeat the status that they have. */
  private content(content: Content, status?: number): Node[] {
    return Object.entries(content).flatMap(([type, { schema, example }]) => {
      if (!schema) return [element('p', {}, element('code', {}, type))];
      const shown = example ?? this.schemas.example(schema);
      const repeats = status !== undefined && isObject(shown) && 'success' in shown && 'status' in shown;
      return [this.fields(this.schemas.fields(schema), 0), json(repeats ? { ...shown, status } : shown)];
    });
  }

  private fields(fields: Field[], nesting: number): HTMLElement {
    return element('dl', {}, ...fields.flatMap((field) => this.field(field, nesting)));
  }

  private field({ name, required, schema }: Field, nesting: number): Node[] {
    const own = this.schemas.resolve(schema);
    const limits = this.schemas.limits(schema);
    const inner = nesting < NESTING_MAX ? this.schemas.fields(schema) : [];
    return [
      element(
        'dt',
        {},
        element('code', {}, name),
        ' ',
        element('span', { class: 'type' }, this.schemas.type(schema)),
        limits !== '' && element('small', {}, ` ${limits}`),
        required && element('span', { class: 'required' }, ' required'),
      ),
      element(
        'dd',
        {},
        ...prose(own.description ?? ''),
        inner.length > 0 && element('details', {}, element('summary', {}, 'fields'), this.fields(inner, nesting + 1)),
      ),
    ];
  }

  /** The operation as a command line. */
  private command(path: string, method: string, operation: Operation): string {
    const parts = [`curl -s -X ${method.toUpperCase()} '${location.origin}${path}'`];
    const [scheme] = Object.keys(operation.security?.[0] ?? {});
    const known = scheme === undefined ? undefined : this.schemes[scheme];
    if (known?.type === 'http') parts.push("-H 'Authorization: Bearer …'");
    else if (known?.in === 'header') parts.push(`-H '${known.name}: …'`);
    const body: { schema?: Schema; example?: unknown } | undefined = operation.requestBody?.content['application/json'];
    if (body?.schema) {
      const text = JSON.stringify(body.example ?? this.schemas.example(body.schema), null, 2);
      parts.push(`--json '${text.replaceAll("'", "'\\''")}'`);
    }
    return parts.join(' \\\n  ');
  }
}

async function show(main: HTMLElement): Promise<void> {
  const answer = await fetch('/api/openapi.json');
  if (!answer.ok) throw new Error(`the document could not be read: ${answer.status}`);
  const api = (await answer.json()) as Document;
  document.title = `${api.info.title} API reference`;
  main.replaceChildren(...new Page(api).render());
  const wanted = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (wanted instanceof HTMLDetailsElement) {
    wanted.open = true;
    wanted.scrollIntoView();
  }
}

const main = document.getElementById('reference')!;
show(main)
  .catch((error: unknown) => main.replaceChildren(element('p', { role: 'alert' }, String(error))))
  .finally(() => main.setAttribute('aria-busy', 'false'));
