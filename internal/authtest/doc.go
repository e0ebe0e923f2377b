// Package authtest has the tests of logins over all mail protocols at once: the
// matrix of mechanisms on the lab's servers and on the fakes, and the search
// for secrets in all that is written. There is nothing to import.
package authtest
