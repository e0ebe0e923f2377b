// Package ewstest is a fake Exchange server for tests, as net/http/httptest is a
// fake web server.
//
//	srv := ewstest.NewServer()
//	defer srv.Close()
//	srv.Add(raw)
//	d, err := ews.New(srv.URL, driver.WithRootCAs(srv.RootCAs()),
//		driver.WithLogin(ewstest.User, ewstest.Password), ...)
//
// It has folders, items with change keys, sync states, subscriptions, sent
// messages and versions from 2007 to 2019, and answers the operations that the
// driver uses: GetFolder, FindFolder, FindItem, SyncFolderItems, GetItem,
// DeleteItem, MoveItem, UpdateItem, CreateItem, Subscribe, GetStreamingEvents
// and Unsubscribe. [Server.Intercept] puts other answers in place of its own:
// throttling, faults, half failures, cut connections. Every request is kept, see
// [Server.Requests], and written to the directory that [RecordEnv] names.
//
// It is not Exchange: it checks no rights, and knows of an item only what the
// driver asks for.
package ewstest
