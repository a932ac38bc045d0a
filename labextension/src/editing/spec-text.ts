/** Whether a text is, or is about to be, a spec of ours, of all the YAML and JSON that there is. Pure. */

const MODELINE = /^#\s*yaml-language-server:\s*\$schema=\S*spec\.schema\.json/m;
const OURS = /^\s{0,4}["']?kind["']?\s*:\s*["']?(job|experiment|group)\b/m;
const KEY = (name: string): RegExp => new RegExp(`^(?:["']?${name}["']?|\\s{1,4}"${name}")\\s*:`, 'm');
const RUN = KEY('run');
const BESIDE = ['kind', 'params', 'param_space', 'num_trials', 'sampler', 'samples', 'metric'].map(KEY);

/** A text that says so, or has a kind that is one of ours, or says what to run and has another key of ours. */
export function isSpec(text: string): boolean {
  return MODELINE.test(text) || OURS.test(text) || (RUN.test(text) && BESIDE.some((key) => key.test(text)));
}
