// Package hugepage asks the kernel for large pages under large tables that are read at random: with small
// pages each read costs a walk of the page tables as well. Nothing depends on it being given.
package hugepage
