/**
 * What every page of the shop is given.
 *
 * @module
 */

/** @import { ShopPlace } from '../../route.js' */
/** @import { Session } from '../../model/session.js' */
/** @import { Shop } from '../../model/shop.js' */
/** @import { ShopApi } from '../../net/shop.js' */

/**
 * @typedef {object} ShopContext
 * @property {Session} session
 * @property {Shop} shop
 * @property {ShopApi} api
 * @property {ShopPlace} place
 * @property {(...offs: (() => void)[]) => void} keep called when the page is left
 * @property {() => boolean} left whether it was
 */

/**
 * @typedef {object} ShopPage
 * @property {string} title what the heading says
 * @property {HTMLElement} view
 * @property {(place: ShopPlace) => boolean} [follow] the same page with something else in its address: whether it goes along
 */

export {};
