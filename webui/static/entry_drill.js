/** Every other page. */

import { start } from "./app.js";
import { startData } from "./data.js";
import { startDataPage } from "./data_page.js";
import { startKeys } from "./keys.js";
import { startMarket } from "./market.js";
import { startQueries } from "./queries.js";

start([startData, startDataPage, startKeys, startMarket, startQueries]);
