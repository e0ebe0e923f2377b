// Package webdavtest has a fake Exchange 2003 and 2007 for tests: the login
// forms with their cookies and 440, the localised folder URLs, SEARCH with row
// ranges, the multistatus dialect, and submission by PUT or MOVE.
//
// It was written from published documents, not against a real server; where
// they are silent it is strict about what it takes. What it was asked is kept
// ([Server.Requests]), and a test can answer in its place
// ([Server.Intercept]).
package webdavtest
