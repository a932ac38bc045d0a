/** Cells of our magics as CodeMirror reads them: the words of the first line, and Python below it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { pythonLanguage } from '@codemirror/lang-python';
import { type Tree, TreeFragment } from '@lezer/common';
import { classHighlighter, highlightTree } from '@lezer/highlight';

import { magicLanguage } from '../src/editing/magic-cells';

const BODY = 'C = 0.5\ndef f(x):\n    """doc"""\n    return [x]  # {\n';
const { parser } = magicLanguage(pythonLanguage);

function words(text: string, one = parser): string[] {
  const found: string[] = [];
  highlightTree(one.parse(text), classHighlighter, (from, to, name) => found.push(`${text.slice(from, to)} ${name}`));
  return found;
}

/** The nodes of a tree, each with where it is. */
function nodes(tree: Tree): string[] {
  const found: string[] = [];
  tree.iterate({ enter: ({ name, from, to }) => void found.push(`${name} ${from} ${to}`) });
  return found;
}

const HEADS = [
  '%%experiment\n',
  '%%experiment "SVM" --seed 1\n',
  "%%group it's --trials 12 -p x={ \"\"\" --maximize acc\n",
  '\n  \n%%group a\\\n'
];
for (const head of HEADS) {
  test(`the body is Python below ${JSON.stringify(head)}`, () => {
    const plain = words(BODY, pythonLanguage.parser);
    assert.deepEqual(words(head + BODY).slice(-plain.length), plain);
  });
}

test('the words of the first line have colours of their own', () => {
  assert.deepEqual(words('%%group "a b" --trials 12 -p C=1e-3 --into runs'), [
    '%%group tok-keyword',
    '"a b" tok-string',
    '--trials tok-propertyName',
    '12 tok-number',
    '-p tok-propertyName',
    '1e-3 tok-number',
    '--into tok-propertyName'
  ]);
});

for (const text of [BODY, `%%time\n${BODY}`, `%%groups\n${BODY}`, `C = 1\n%%group\n${BODY}`, '']) {
  test(`all else is read as ever: ${JSON.stringify(text.slice(0, 12))}`, () => {
    assert.deepEqual(nodes(parser.parse(text)), nodes(pythonLanguage.parser.parse(text)));
  });
}

test('a tree is as long as its text, and is made anew when the first line comes or goes', () => {
  const whole = `%%experiment "a"\n${BODY}`;
  for (const text of ['%%experiment', '%%group\n', '%%experiment "', whole]) {
    assert.equal(parser.parse(text).length, text.length);
  }
  const cut = whole.indexOf('\n') + 1;
  const gone = { fromA: 0, toA: cut, fromB: 0, toB: 0 };
  const come = { fromA: 0, toA: 0, fromB: 0, toB: cut };
  const was = TreeFragment.addTree(parser.parse(whole));
  assert.deepEqual(nodes(parser.parse(BODY, TreeFragment.applyChanges(was, [gone]))), nodes(parser.parse(BODY)));
  const plain = TreeFragment.addTree(parser.parse(BODY));
  assert.deepEqual(nodes(parser.parse(whole, TreeFragment.applyChanges(plain, [come]))), nodes(parser.parse(whole)));
});
