import { createHmac } from "node:crypto";

const unitSignature = (secret, userId) => createHmac("sha256", secret).update(userId).digest("hex");

console.log(unitSignature(process.env.UNIT_SECRET, process.argv[2]));
