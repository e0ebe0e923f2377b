package webdav

import (
	"errors"
	"fmt"
	"slices"

	"github.com/maildriver/maildriver/driver"
)

const protocol = driverName

// Params is the driver's table of documented parameters, for a
// [driver.Registry]: reg.Add("WEBDAV", webdav.Params).
var Params = driver.Params{
	Protocol: protocol,
	Rows:     rows(),
	Options:  parameterOptions,
	New:      func(addr string, opts ...driver.Option) (driver.Driver, error) { return New(addr, opts...) },
	Targets:  func() []any { return newOptions().targets() },
}

// The values of the rows "WEBDAV After Processing" and "WEBDAV Server Kind".
const (
	afterRowDelete = "DELETE"
	afterRowTrash  = "MOVETODELETEDITEMS"
	afterRowMove   = "MOVE"
	afterRowRead   = "READ"
	afterRowLeave  = "LEAVE"

	kindRowExchange = "EXCHANGE"
	kindRowPlain    = "PLAIN"
)

// absentRows are rows of other drivers that say nothing here: the URL tells the
// port and whether TLS is used.
var absentRows = []string{"WEBDAV Server Port", "Enable SSL for WEBDAV", "Enable TLS for WEBDAV", "WEBDAV Security"}

func rows() []driver.Param {
	network := slices.DeleteFunc(driver.NetworkRows(protocol, 80, 443), func(r driver.Param) bool { return slices.Contains(absentRows, r.Name) })
	for i := range network {
		switch r := &network[i]; r.Name {
		case "WEBDAV Server":
			r.Text = "URL of the server, as https://HOST, or of the mailbox, as https://HOST/exchange/MAILBOX, or of the collection of mails with PLAIN. A host alone means https."
		case "WEBDAV Authentication":
			r.Text = "How to log in: Auto (Digest or Basic, as the server wants; a token or ticket if there is a source), Basic, Default (Negotiate or NTLM, which Auto never takes), Form (the login page of Outlook Web Access), NTLM, Negotiate, Digest or Bearer."
		case "WEBDAV Timeout":
			r.Text = "Time for setting up a connection, and for each silence of the server; not for a whole message."
		}
	}
	return slices.Concat(network, driver.InboundRows(protocol), driver.CommonRows(), []driver.Param{
		{Name: "WEBDAV Folder", Aliases: []string{"Current Folder"}, Session: "CURRENTFOLDER", Type: driver.ParamText, Default: "Inbox", Text: `The folder to poll: a well-known name such as Inbox, JunkEmail or MsgFolderRoot, and names of folders in it behind /, e.g. Inbox/Support. A / in a name is written \/. With PLAIN a path below the server's URL, by default the URL itself.`},
		{Name: "WEBDAV Server Kind", Type: driver.ParamText, Default: kindRowExchange, Ours: true, Choices: []string{kindRowExchange, kindRowPlain}, Text: "EXCHANGE (2000, 2003, 2007), or PLAIN for a collection of .eml files on any other WebDAV server, which cannot send."},
		{Name: "WEBDAV After Processing", Type: driver.ParamText, Default: afterRowDelete, Ours: true, Choices: []string{afterRowDelete, afterRowTrash, afterRowMove, afterRowRead, afterRowLeave}, Text: "What becomes of handled mails on the server: deleted for good, moved to Deleted Items or to WEBDAV Move Folder, marked as read, or left as they are (as Leave On Server)."},
		{Name: "WEBDAV Move Folder", Type: driver.ParamText, Ours: true, Text: "Where handled mails go with MOVE."},
		{Name: "WEBDAV Failed Folder", Type: driver.ParamText, Ours: true, Text: "Where mails go on the server that were moved to the failed directory; by default they are treated as the others."},
		{Name: "WEBDAV Unread Only", Type: driver.ParamBool, Default: "FALSE", Ours: true, Text: "TRUE takes only mails that nobody has read."},
		{Name: "WEBDAV Save Copy", Type: driver.ParamBool, Default: "FALSE", Ours: true, Text: "TRUE keeps a copy of what is sent in Sent Items."},
		{Name: "WEBDAV File Suffix", Type: driver.ParamText, Default: DefaultSuffix, Ours: true, Text: "What names of mails end with in a collection (PLAIN)."},
		{Name: "PROTOCOLTYPE", Type: driver.ParamText, Choices: []string{protocol}, Text: "The protocol of a session description; must be that of the driver."},
	})
}

// mechanisms maps the values of the authentication row to mechanisms.
var mechanisms = map[string]string{
	"basic": "BASIC", "digest": "DIGEST", "ntlm": "NTLM", "negotiate": "NEGOTIATE", "gssapi": "NEGOTIATE",
	"bearer": "BEARER", "oauth20": "BEARER", "default": mechDefault, "form": mechForm,
}

// FromParameters reads parameters by their documented names into the address
// and the options of [New]. Every wrong row is reported, all in one error of
// kind [driver.KindConfig].
func FromParameters(parameters map[string]string) (addr string, opts []driver.Option, err error) {
	return Params.Read(parameters)
}

func parameterOptions(v driver.Values) (addr string, opts []driver.Option, err error) {
	addr, network, nerr := driver.NetworkOptions(v, protocol, mechanisms)
	if addr != "" {
		if _, err := parseAddr(addr); err != nil {
			nerr = errors.Join(nerr, &driver.ParamError{Name: "WEBDAV Server", Err: err})
		}
	}
	common, cerr := driver.CommonOptions(v)
	own, oerr := ownOptions(v)
	return addr, slices.Concat(network, driver.InboundOptions(v, protocol), common, own), errors.Join(nerr, cerr, oerr)
}

// ownOptions reads the rows that only WebDAV has.
func ownOptions(v driver.Values) (opts []driver.Option, err error) {
	if v.Text("WEBDAV Server Kind") == kindRowPlain {
		opts = append(opts, WithPlain())
	}
	for _, x := range []struct {
		row string
		set func(string) driver.Option
	}{
		{"WEBDAV Folder", WithFolder}, {"WEBDAV Failed Folder", WithFailedFolder}, {"WEBDAV File Suffix", WithSuffix},
	} {
		if v.Has(x.row) {
			opts = append(opts, x.set(v.Text(x.row)).ForParameter(x.row))
		}
	}
	if err := checkFolderRows(v); err != nil {
		return opts, err
	}
	const row, move = "WEBDAV After Processing", "WEBDAV Move Folder"
	what := v.Text(row)
	switch {
	case v.Bool("Leave On Server", false) && what != "" && what != afterRowLeave:
		return opts, &driver.ParamError{Name: row, Err: fmt.Errorf("%s contradicts %q", what, "Leave On Server")}
	case what == afterRowMove && !v.Has(move):
		return opts, &driver.ParamError{Name: move, Err: fmt.Errorf("%w with %s in %q", driver.ErrParameterRequired, what, row)}
	case what != afterRowMove && v.Has(move):
		return opts, &driver.ParamError{Name: move, Err: fmt.Errorf("counts only with %s in %q", afterRowMove, row)}
	}
	switch what {
	case afterRowMove:
		opts = append(opts, WithMoveTo(v.Text(move)).ForParameter(move))
	case afterRowTrash:
		opts = append(opts, WithTrash())
	case afterRowRead:
		opts = append(opts, WithMarkRead())
	case afterRowLeave:
		opts = append(opts, driver.WithLeaveOnServer(true))
	}
	return append(opts, WithUnread(v.Bool("WEBDAV Unread Only", false)), WithSaveSent(v.Bool("WEBDAV Save Copy", false))), nil
}

// checkFolderRows finds folders that no Exchange has, under the names of their
// rows.
func checkFolderRows(v driver.Values) error {
	if v.Text("WEBDAV Server Kind") == kindRowPlain {
		return nil
	}
	var errs []error
	for _, row := range []string{"WEBDAV Folder", "WEBDAV Move Folder", "WEBDAV Failed Folder"} {
		if !v.Has(row) {
			continue
		}
		if _, err := splitPath(v.Text(row)); err != nil {
			continue // the option says it
		}
		if err := checkWellKnown(v.Text(row)); err != nil {
			errs = append(errs, &driver.ParamError{Name: row, Err: err})
		}
	}
	return errors.Join(errs...)
}
