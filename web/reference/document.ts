/** The parts of an OpenAPI 3.1 document that the reference shows. */
export interface Document {
  info: { title: string; version: string; description?: string };
  tags?: { name: string; description?: string }[];
  paths: Record<string, Record<string, Operation>>;
  components?: { schemas?: Record<string, Schema>; securitySchemes?: Record<string, SecurityScheme> };
}

export interface Operation {
  operationId: string;
  summary?: string;
  description?: string;
  tags?: string[];
  parameters?: Parameter[];
  requestBody?: { required?: boolean; content: Content };
  responses: Record<string, { description: string; content?: Content }>;
  security?: Record<string, string[]>[];
}

export type Content = Record<string, { schema?: Schema; example?: unknown }>;

export interface Parameter {
  name: string;
  in: string;
  description?: string;
  required?: boolean;
  schema?: Schema;
}

export interface Schema {
  $ref?: string;
  type?: string | string[];
  format?: string;
  description?: string;
  enum?: unknown[];
  example?: unknown;
  default?: unknown;
  pattern?: string;
  minLength?: number;
  maxLength?: number;
  minItems?: number;
  maxItems?: number;
  minimum?: number;
  maximum?: number;
  required?: string[];
  properties?: Record<string, Schema>;
  items?: Schema;
  allOf?: Schema[];
  oneOf?: Schema[];
  anyOf?: Schema[];
}

export interface SecurityScheme {
  type: string;
  description?: string;
  scheme?: string;
  name?: string;
  in?: string;
}

/** A field of an object, with the objects that it is part of joined into one. */
export interface Field {
  name: string;
  required: boolean;
  schema: Schema;
}

/** Schemas refer to each other; deeper than this nothing is composed, so a circle ends. */
const DEPTH_MAX = 8;

export class Schemas {
  constructor(private readonly all: Record<string, Schema>) {}

  /** The schema itself, wherever it is written down. */
  resolve(schema: Schema): Schema {
    const name = schema.$ref?.split('/').pop();
    return name === undefined ? schema : { ...this.all[name], ...(schema.description ? { description: schema.description } : {}) };
  }

  /** The choices of a schema that may be one of several, without null. */
  private choices(schema: Schema): Schema[] {
    return (schema.oneOf ?? schema.anyOf ?? []).filter((choice) => choice.type !== 'null');
  }

  /** What kind of value it is, in a few words. */
  type(schema: Schema): string {
    const own = this.resolve(schema);
    const choices = own.oneOf ?? own.anyOf;
    if (choices) return choices.map((choice) => this.type(choice)).join(' or ');
    if (own.enum) return own.enum.map((value) => JSON.stringify(value)).join(' | ');
    if (own.allOf || own.properties) return 'object';
    const types = [own.type ?? 'any'].flat();
    return types
      .map((type) => (type === 'array' && own.items ? `array of ${this.type(own.items)}` : type))
      .map((type) => (own.format && type === 'string' ? `string (${own.format})` : type))
      .join(' or ');
  }

  /** What a value must keep to, beside its type. */
  limits(schema: Schema): string {
    const own = this.resolve(schema);
    const texts = [
      range(own.minimum, own.maximum, ''),
      range(own.minLength, own.maxLength, ' characters'),
      range(own.minItems, own.maxItems, ' items'),
      own.pattern && `matches ${own.pattern}`,
    ];
    return texts.filter(Boolean).join(', ');
  }

  /** The fields of an object, or of the objects in a list. */
  fields(schema: Schema, depth = 0): Field[] {
    const own = this.resolve(schema);
    if (depth > DEPTH_MAX) return [];
    if (own.items) return this.fields(own.items, depth + 1);
    const parts = [...(own.allOf ?? []), ...this.choices(own).slice(0, 1)].flatMap((part) => this.fields(part, depth + 1));
    const fields = Object.entries(own.properties ?? {}).map(([name, field]) => {
      return { name, required: own.required?.includes(name) ?? false, schema: field };
    });
    return [...parts, ...fields];
  }

  /** A value of this schema: its example, or one made of the examples of its parts. */
  example(schema: Schema, depth = 0): unknown {
    const own = this.resolve(schema);
    if (own.example !== undefined) return own.example;
    if (depth > DEPTH_MAX) return null;
    if (own.enum) return own.enum[0];
    const [choice] = this.choices(own);
    if (choice) return this.example(choice, depth + 1);
    if (own.items) return [this.example(own.items, depth + 1)];
    if (own.allOf || own.properties) {
      const parts = (own.allOf ?? []).map((part) => this.example(part, depth + 1));
      const fields = Object.entries(own.properties ?? {}).map(([name, field]) => [name, this.example(field, depth + 1)] as const);
      return Object.assign({}, ...parts, Object.fromEntries(fields));
    }
    return plainValue(own);
  }
}

function range(from: number | undefined, to: number | undefined, unit: string): string {
  if (from === undefined && to === undefined) return '';
  if (to === undefined) return `at least ${from}${unit}`;
  return from === undefined ? `at most ${to}${unit}` : `${from} to ${to}${unit}`;
}

/** Stands for a value that has no example. */
function plainValue(schema: Schema): unknown {
  const [type] = [schema.type ?? 'object'].flat();
  if (type === 'string') {
    if (schema.format === 'uuid') return '019a0000-0000-7000-8000-000000000001';
    if (schema.format === 'date-time') return '2026-01-02T03:04:05.678Z';
    return 'text';
  }
  if (type === 'integer' || type === 'number') return 1;
  if (type === 'boolean') return true;
  return type === 'array' ? [] : {};
}
