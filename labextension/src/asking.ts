/** A question to a kernel on its control channel, which it hears while a cell keeps it busy: see `widgets/control.py`. */
import { type Kernel, KernelMessage } from '@jupyterlab/services';
import type { JSONObject } from '@lumino/coreutils';

const REQUEST = 'ml_experiment_request';
const LIMIT = 5000; // ms that an answer may take

/** What a kernel answers; null where it says nothing, or that it can't. */
export async function ask(kernel: Kernel.IKernelConnection, content: JSONObject): Promise<string | null> {
  const message = KernelMessage.createMessage({
    channel: 'control',
    msgType: REQUEST as 'debug_request', // the types know no message of ours
    session: kernel.clientId,
    username: kernel.username,
    content: content as unknown as KernelMessage.IDebugRequestMsg['content']
  });
  const future = kernel.sendControlMessage(message, true, true);
  const late = new Promise<null>((resolve) => setTimeout(resolve, LIMIT, null));
  const reply = await Promise.race([future.done.catch(() => null), late]);
  if (reply === null) {
    future.dispose();
    return null;
  }
  const answer = reply.content as unknown as { status?: string; message?: string };
  return answer.status === 'ok' && answer.message !== undefined ? answer.message : null;
}
