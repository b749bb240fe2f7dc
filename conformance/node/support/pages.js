'use strict';
// Queries of `azure-iot-provisioning-service` and of `azure-iothub`, page by page.

const assert = require('node:assert/strict');

/** More pages than any query of these suites has: a continuation that goes in circles. */
const TOO_MANY_PAGES = 500;

/**
 * The next page. Called without a callback, the `next` of both packages forgets the token it
 * keeps and would begin again, so this hands it over.
 */
async function nextPage(query, itemType) {
  const answer = await query.next(query.continuationToken);
  const { statusCode, headers } = answer.httpResponse ?? answer.message;
  assert.equal(statusCode, 200);
  assert.equal(headers['x-ms-item-type'], itemType);
  return answer.responseBody ?? answer.result;
}

/** Every page that is left. */
async function pagesOf(query, itemType) {
  const pages = [];
  while (query.hasMoreResults) {
    assert.ok(pages.length < TOO_MANY_PAGES, 'the query never ends');
    pages.push(await nextPage(query, itemType));
  }
  return pages;
}

module.exports = { nextPage, pagesOf };
