// SPDX-License-Identifier: Apache-2.0
// pool.js PORT VERSION PARALLEL EACH: connections in parallel through one https.Agent, whose session cache they share.
const https = require('https');
const [port, version, parallel, each] = process.argv.slice(2);
const agent = new https.Agent({ keepAlive: false, maxSockets: Number(parallel), minVersion: version, maxVersion: version });
const once = () => new Promise((done, failed) => {
  https.get({ host: '127.0.0.1', port, agent, rejectUnauthorized: false, servername: 'a.test' }, (answer) => {
    let text = '';
    answer.on('data', (part) => { text += part; });
    answer.on('end', () => { console.log(text); done(); });
  }).on('error', failed);
});
const line = async () => { for (let i = 0; i < Number(each); i++) await once(); };
once().then(() => Promise.all(Array.from({ length: Number(parallel) }, line)));
