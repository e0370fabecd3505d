// Package tufroot keeps a Sigstore trusted root up to date from a TUF
// repository, the public-good one or one's own, without ever standing in the
// way of a verification.
//
// [New] takes the URL of the repository, the initial root metadata (the one
// thing that is believed without proof, so it is given and never fetched), a
// folder of its own and a clock. Two calls do all the work:
//
//   - Refresh asks the repository, checks what it says as the TUF specification
//     5.3 to 5.7 asks, and stores the result as one file, all of it or nothing.
//     It is for the side of the road: a timer, or a verb on the command line.
//   - Current never asks anybody. It reads that file and verifies all of it
//     again, from the initial root on, so that the file is a cache and never a
//     root (rule T10): who edits it can make it useless or old, not different.
//
// [Client.Run] does the first at an interval.
//
// # What expires
//
// Metadata expires so that a repository that is silenced is noticed. The last
// good trusted root stays in force until the earliest expiry of the metadata
// that vouches for it, and for a grace after that ([Status.State]): Good, then
// Stale (go on, and warn), then Frozen. Frozen means that no new revision may
// be taken, since a key that was revoked meanwhile could have signed it; what
// was taken before stays enforced.
//
// # What it refuses
//
// Metadata below its threshold of signatures (trust/signature), of a lower
// version than was seen (trust/rollback), past its time (trust/expired), of
// another version, length or digest than the metadata above it promises
// (trust/mismatch), larger than its bound (trust/size), or unreadable
// (trust/malformed). A repository that does not answer is trust/away: nobody
// can tell. None of them changes what Current says. Roots are the one exception
// that the specification asks for: a new root that verified is remembered even
// where something after it did not, so that a key it revoked stays revoked.
// When a root takes a timestamp or snapshot key away, the versions that the old
// key signed are forgotten, which is the way back from versions that were
// pushed to the end of the number range.
//
// It speaks https, or http to a loopback address; it follows no redirect to
// another host, delegates to no other role than targets, and follows at most
// 256 rotations of the root. It cannot see that a trusted root in a plain file
// was replaced by an older one: a file has no version. One process may use a
// folder at a time.
package tufroot
