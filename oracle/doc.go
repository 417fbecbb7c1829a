// Package oracle compares how port53 reads and writes DNS with how
// github.com/miekg/dns does: record data as text and as octets, zone files, names
// and messages. It has tests only, and is a module of its own, so that the oracle
// is no dependency of the product.
//
// Rules of block lists are compared with what github.com/AdguardTeam/urlfilter makes of them, the
// engine of AdGuard Home.
//
// The two were written from the same RFCs by others than each other. Where they
// differ, one is wrong, or the RFC leaves room; then the test that met it says which
// and why, in a function of its own, so that everything else must agree.
package oracle
