// Package zones is the zone manager: the only writer of the zones that are served.
//
// Each zone has an [Origin], which gives candidates for its next version: a file, the
// primaries, a catalog that is made here, or whatever implements the interface. Update
// messages give candidates as well. All of them go the one way of [Manager.write] and
// [Manager.publish]: check, sign, write down, publish, remember, notify.
//
// A zone that cannot be loaded takes no other zone with it, and not its own last good
// version either: that one keeps serving, and [Manager.Status] says what is wrong.
// Zones that change together in a [Manager.Load] are published together.
//
// Locks: Manager.loading is held while the set of zones changes, over all that has to be
// read for it; each zone has one mutex, held while its version is replaced and written
// down. Both are held over I/O, so nobody who answers a query, tells the status or stops
// the server takes them: what they need lies behind atomic pointers. All other locks are
// held for a few instructions.
package zones
