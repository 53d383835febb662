/** Every other page. */

import { start } from "./app.js";
import { startData } from "./data.js";
import { startKeys } from "./keys.js";
import { startMarket } from "./market.js";

start([startData, startKeys, startMarket]);
