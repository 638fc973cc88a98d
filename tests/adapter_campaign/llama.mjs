// Greedy token ids of a model with an adapter, by llama.cpp (node-llama-cpp): what run compares with.
//
//   node llama.mjs NODE_MODULES MODEL ADAPTER|- N IDS...     IDS: "1,2,3", one list a prompt
//
// F32 cache and no flash attention, as `cria debug greedy` has it.  One line of ids a prompt.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import path from "node:path";

const [modules, model, adapter, n, ...prompts] = process.argv.slice(2);
const from = createRequire(path.join(path.resolve(modules), "x.js"));
const { getLlama, LlamaLogLevel } = await import(pathToFileURL(from.resolve("node-llama-cpp")).href);

const llama = await getLlama({ gpu: false, build: "never", logLevel: LlamaLogLevel.error });
const loaded = await llama.loadModel({ modelPath: model });
const context = await loaded.createContext({
    contextSize: 512,
    threads: 1, // its threads spin: beside other work two are far slower than one
    flashAttention: false,
    experimentalKvCacheKeyType: "F32",
    experimentalKvCacheValueType: "F32",
    lora: adapter === "-" ? undefined : { adapters: [{ filePath: adapter, scale: 1 }] },
});
const sequence = context.getSequence();
for (const ids of prompts) {
    const out = [];
    await sequence.clearHistory();
    for await (const token of sequence.evaluate(ids.split(",").map(Number), { temperature: 0, yieldEogToken: true })) {
        out.push(token);
        if (out.length === Number(n)) break;
    }
    console.log(out.join(" "));
}
await llama.dispose();
