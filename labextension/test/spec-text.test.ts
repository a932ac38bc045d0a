/** Which YAML and JSON is taken for a spec. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { isSpec } from '../src/editing/spec-text';

const EXAMPLES = join(process.cwd(), '..', 'examples');

test('the examples are specs', () => {
  const files = readdirSync(EXAMPLES, { recursive: true, encoding: 'utf8' }).filter((name) => /\.ya?ml$/.test(name));
  assert.ok(files.length > 3);
  for (const name of files) {
    assert.ok(isSpec(readFileSync(join(EXAMPLES, name), 'utf8')), name);
  }
});

const OURS = [
  'kind: gruop\nrun: a.py\n',
  "run: a.py\nparam_space: {C: 'uniform(0, 1)'}\n",
  '# yaml-language-server: $schema=../spec.schema.json\nname: x\n',
  '{\n  "kind": "group",\n  "run": "a.py"\n}',
  "kind: 'group'\n"
];
for (const text of OURS) {
  test(`is a spec: ${JSON.stringify(text)}`, () => {
    assert.ok(isSpec(text));
  });
}

const OTHERS = [
  'apiVersion: v1\nkind: Deployment\nspec:\n  run: x\n',
  'jobs:\n  build:\n    steps:\n      - run: make\n',
  'run: x\n',
  '{"cells": []}',
  ''
];
for (const text of OTHERS) {
  test(`is none: ${JSON.stringify(text)}`, () => {
    assert.ok(!isSpec(text));
  });
}
