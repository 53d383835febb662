/** The first screen. */

import { start } from "./app.js";
import { startData } from "./data.js";

start([startData]);
