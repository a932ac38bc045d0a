/** What the dialog of an image asks for, how what would go in is grouped, and where what is wrong belongs. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { test } from 'node:test';

import type { Checked, DataFile, ImagePlan } from '../src/api';
import { askedBy, type Fields, fieldsOf, groupsOf, placed, planAsked, sizeOf, stepText } from '../src/images/asked';

interface Wire {
  answers: { name: string; answer: unknown; body?: unknown }[];
}
const wire = JSON.parse(readFileSync(resolve(process.cwd(), '../tests/wire.json'), 'utf8')) as Wire;
const find = (name: string): Wire['answers'][number] | undefined => wire.answers.find((one) => one.name === name);
const plan = find('plan image')?.answer as ImagePlan;
const notebook = { notebook: 'project/svm.ipynb' };
const run = { run: '3f2a9c0d5b7e4a1f8c6d2e9b0a4f7c15' };
const form = (changed: Partial<Fields> = {}): Fields => ({ ...fieldsOf('project', 'svm'), ...changed });
const file = (path: string, why_out: string | null = null): DataFile => ({ path, size: 10, why_out });

test('what is left empty is not asked for', () => {
  assert.deepEqual(askedBy(form({ tag: ' ', base: '' }), notebook, plan.data), notebook);
});

test('an image is asked for as the wire has it', () => {
  const data = [file('data/raw.csv'), file('data/a.csv')];
  const typed = { tag: ' team/svm:1', base: 'python:3.11-slim ', onlyImports: true, lab: 'out', network: 'host' } as const;
  assert.deepEqual(askedBy(form({ ...typed, push: true, out: new Set(['data/raw.csv']) }), notebook, data), find('build image')?.body);
  assert.deepEqual(planAsked(form({ onlyImports: true, push: true }), notebook), find('plan image')?.body);
});

test('only a run can be left unproven, and what is only written is neither proven nor pushed', () => {
  assert.deepEqual(askedBy(form({ verify: false }), notebook, []), notebook);
  assert.deepEqual(askedBy(form({ verify: false, push: true }), run, []), { ...run, push: true, verify: false });
  const context = form({ contextOnly: true, push: true, verify: false });
  assert.deepEqual(askedBy(context, run, []), { ...run, context: 'project/svm-image' });
});

test('tolerances are those of a run that is repeated, and JupyterLab is asked for in a plan, too', () => {
  const tolerances = ' loss = 1%,, acc=0.01 ';
  assert.deepEqual(askedBy(form({ tolerances }), run, []), { ...run, tolerances: ['loss = 1%', 'acc=0.01'] });
  assert.deepEqual(askedBy(form({ tolerances, verify: false }), run, []), { ...run, verify: false });
  assert.deepEqual(askedBy(form({ tolerances }), notebook, []), notebook);
  const context = form({ tolerances, contextOnly: true, network: 'none', lab: 'in' });
  assert.deepEqual(askedBy(context, run, []), { ...run, lab: true, context: 'project/svm-image' });
  assert.deepEqual(planAsked(form({ lab: 'in', network: 'host' }), notebook), { ...notebook, lab: true });
});

test('data that is all left out is asked for so, and what stays out anyhow is not named', () => {
  const data = [file('a.csv'), file('b.csv'), file('/mnt/c', 'it lies outside')];
  const out = (...paths: string[]): object => askedBy(form({ out: new Set(paths) }), notebook, data);
  assert.deepEqual(out('b.csv', '/mnt/c', 'gone.csv'), { ...notebook, exclude: ['b.csv'] });
  assert.deepEqual(out('a.csv', 'b.csv'), { ...notebook, data: false });
  assert.deepEqual(askedBy(form(), notebook, data.slice(2)), notebook);
});

test('the folder of a context is named as a notebook or a run is', () => {
  assert.equal(fieldsOf('', 'My Notebook (2)').context, 'my-notebook-2-image');
  assert.equal(fieldsOf('a/b', '…').context, 'a/b/notebook-image');
});

test('packages stand by where they come from, the largest first, what runs it by itself', () => {
  const packages = [...plan.packages, { name: 'scipy', version: '1', kind: 'index', source: '', size: 9e7, of: 'env' } as const];
  assert.deepEqual(
    groupsOf(packages).map(({ name, packages: found, size }) => [name, found.map((one) => one.name), size]),
    [
      ['index', ['scipy', 'numpy'], 164000000],
      ['local', ['mine'], 1200],
      ['vcs', ['tool'], 5200],
      ['debian', ['libgomp1'], 301056],
      ['runner', ['ml-experiment-nb'], 0]
    ]
  );
});

test('the size is that of all that goes in, as far as it is known', () => {
  const known = 74000000 + 1200 + 5200 + 301056 + 812;
  assert.equal(sizeOf(plan, new Set()), known + 4551);
  assert.equal(sizeOf(plan, new Set(['data/iris.csv'])), known);
});

test('a step is shown by what it does', () => {
  assert.equal(stepText('RUN /bin/sh -c export A=1 B=2     && export C=3 && /mnt/uv venv # x'), 'RUN /mnt/uv venv # x');
  assert.equal(stepText('COPY work/ /project/'), 'COPY work/ /project/');
  assert.equal(stepText('x'.repeat(200)).length, 120);
});

test('what is wrong stands at its field, and else above all of them', () => {
  const { errors } = find('check image')?.answer as Checked;
  assert.match(placed(errors).fields.tag ?? '', /is no name of an image/);
  const problems = [null, 'notebook', 'context'].map((key) => ({ message: 'wrong', line: null, key }));
  assert.deepEqual(placed(problems), { fields: { context: 'wrong' }, others: ['wrong', 'notebook: wrong'] });
});
