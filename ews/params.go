package ews

import (
	"errors"
	"fmt"
	"slices"

	"github.com/maildriver/maildriver/driver"
)

const protocol = "EWS"

// Params is the driver's table of documented parameters, for a
// [driver.Registry]: reg.Add("EWS", ews.Params).
var Params = driver.Params{
	Protocol: protocol,
	Rows:     rows(),
	Options:  parameterOptions,
	New:      func(addr string, opts ...driver.Option) (driver.Driver, error) { return New(addr, opts...) },
	Targets:  func() []any { return newOptions().targets() },
}

// The values of the row "EWS After Processing".
const (
	afterRowHard  = "HARDDELETE"
	afterRowSoft  = "SOFTDELETE"
	afterRowTrash = "MOVETODELETEDITEMS"
	afterRowMove  = "MOVE"
	afterRowRead  = "READ"
	afterRowLeave = "LEAVE"
)

// absentRows are rows of other drivers that say nothing here: the URL tells the
// port and whether TLS is used.
var absentRows = []string{"EWS Server Port", "Enable SSL for EWS", "Enable TLS for EWS", "EWS Security"}

func rows() []driver.Param {
	network := slices.DeleteFunc(driver.NetworkRows(protocol, 80, 443), func(r driver.Param) bool { return slices.Contains(absentRows, r.Name) })
	for i := range network {
		switch r := &network[i]; r.Name {
		case "EWS Server":
			r.Required = false
			r.Text = "URL of the service, or host of the server, for which it becomes https://HOST" + servicePath + ". With EWS Autodiscover it is not asked, but may have OAuth tokens, and is the only host without a certificate check if that is off."
		case "EWS Authentication":
			r.Text = "How to log in: Auto takes the strongest that the server offers, Basic, Default (Negotiate or NTLM), NTLM, Negotiate, Digest or Bearer. Form is for WebDAV alone."
		case "EWS Timeout":
			r.Text = "Time for setting up a connection, and for each silence of the server; not for a whole message."
		}
	}
	return slices.Concat(network, driver.InboundRows(protocol), driver.ComposingRows(), driver.CommonRows(), []driver.Param{
		{Name: "EWS Folder", Aliases: []string{"Current Folder"}, Session: "CURRENTFOLDER", Type: driver.ParamText, Default: "Inbox", Text: `The folder to poll: a well-known name such as Inbox, JunkEmail or MsgFolderRoot, and names of folders in it behind /, e.g. Inbox/Support. A / in a name is written \/.`},
		{Name: "EWS Mailbox", Type: driver.ParamText, Ours: true, Text: "Address of a shared mailbox to open instead of the account's own."},
		{Name: "EWS Impersonate", Type: driver.ParamText, Ours: true, Text: "Primary address of the account to act for (ExchangeImpersonation)."},
		{Name: "EWS Autodiscover", Aliases: []string{"Autodiscover service URL"}, Session: "AUTODISCOVERURL", Type: driver.ParamBool, Default: "NO", Text: "YES finds the server by the e-mail address and does not use EWS Server."},
		{Name: "EWS Autodiscover Address", Type: driver.ParamText, Default: "the account's", Ours: true, Text: "The e-mail address that EWS Autodiscover asks for."},
		{Name: "EWS Allow Redirection", Aliases: []string{"Allow redirection"}, Session: "ALLOWREDIRECTION", Type: driver.ParamBool, Default: "NO", Text: "YES follows the server, and Autodiscover, to other hosts and mail domains, which then get the credentials; https only."},
		{Name: "Exchange Version", Type: driver.ParamText, Default: Exchange2016.String(), Ours: true, Text: "The newest level of the schema to use, e.g. Exchange2010_SP2; it is lowered by itself to what the server takes."},
		{Name: "EWS After Processing", Type: driver.ParamText, Default: afterRowHard, Ours: true, Choices: []string{afterRowHard, afterRowSoft, afterRowTrash, afterRowMove, afterRowRead, afterRowLeave}, Text: "What becomes of handled mails on the server: deleted in one of three ways, moved to EWS Move Folder, marked as read, or left as they are (as Leave On Server)."},
		{Name: "EWS Move Folder", Type: driver.ParamText, Ours: true, Text: "Where handled mails go with MOVE."},
		{Name: "EWS Failed Folder", Type: driver.ParamText, Ours: true, Text: "Where mails go on the server that were moved to the failed directory; by default they are treated as the others."},
		{Name: "EWS Unread Only", Type: driver.ParamBool, Default: "FALSE", Ours: true, Text: "TRUE takes only mails that nobody has read."},
		{Name: "EWS Sync State Directory", Type: driver.ParamPath, Ours: true, Text: "With it the folder is listed with SyncFolderItems, which asks for changes alone; their state is kept there."},
		{Name: "EWS Save Copy", Type: driver.ParamBool, Default: "FALSE", Ours: true, Text: "TRUE keeps a copy of what is sent on the server."},
		{Name: "EWS Save Folder", Type: driver.ParamText, Default: "SentItems", Ours: true, Text: "Where the copy is kept."},
		{Name: "EWS Notifications", Type: driver.ParamBool, Default: "TRUE", Ours: true, Text: "FALSE polls at the interval alone, also where the server could tell of new mail."},
		{Name: "PROTOCOLTYPE", Type: driver.ParamText, Choices: []string{protocol}, Text: "The protocol of a session description; must be that of the driver."},
	})
}

// mechanisms maps the values of the authentication row to HTTP schemes. Form
// passes, so that New can say why it is refused.
var mechanisms = map[string]string{
	"basic": "BASIC", "digest": "DIGEST", "ntlm": "NTLM", "negotiate": "NEGOTIATE", "gssapi": "NEGOTIATE",
	"bearer": "BEARER", "oauth20": "BEARER", "default": "DEFAULT", "form": "FORM",
}

// FromParameters reads parameters by their documented names into the address
// and the options of [New]. Every wrong row is reported, all in one error of
// kind [driver.KindConfig].
func FromParameters(parameters map[string]string) (addr string, opts []driver.Option, err error) {
	return Params.Read(parameters)
}

func parameterOptions(v driver.Values) (addr string, opts []driver.Option, err error) {
	addr, network, nerr := driver.NetworkOptions(v, protocol, mechanisms)
	switch driver.ParamKey(v.Text("EWS Authentication")) {
	case "default":
		network = append(network, driver.WithMechanisms("NEGOTIATE", "NTLM"))
	case "form":
		nerr = errors.Join(nerr, &driver.ParamError{Name: "EWS Authentication", Err: errors.New("a form is for WebDAV alone; Exchange Web Services take Basic, NTLM, Negotiate or Bearer")})
	}
	common, cerr := driver.CommonOptions(v)
	own, oerr := ownOptions(v)
	if !v.Has("EWS Server") && !v.Bool("EWS Autodiscover", false) {
		oerr = errors.Join(oerr, &driver.ParamError{Name: "EWS Server", Err: fmt.Errorf("%w without EWS Autodiscover", driver.ErrParameterRequired)})
	}
	return addr, slices.Concat(network, driver.InboundOptions(v, protocol), driver.ComposingOptions(v), common, own), errors.Join(nerr, cerr, oerr)
}

// ownOptions reads the rows that only EWS has.
func ownOptions(v driver.Values) (opts []driver.Option, err error) {
	text := func(row string, with func(string) driver.Option) {
		if v.Has(row) {
			opts = append(opts, with(v.Text(row)).ForParameter(row))
		}
	}
	text("EWS Folder", WithFolder)
	text("EWS Mailbox", WithMailbox)
	text("EWS Impersonate", func(a string) driver.Option { return WithImpersonation(PrimarySMTPAddress, a) })
	text("EWS Failed Folder", WithFailedFolder)
	text("EWS Sync State Directory", WithSyncState)
	var errs []error
	if v.Bool("EWS Autodiscover", false) {
		opts = append(opts, WithAutodiscover(v.Text("EWS Autodiscover Address")).ForParameter("EWS Autodiscover Address"))
	} else if v.Has("EWS Autodiscover Address") {
		errs = append(errs, &driver.ParamError{Name: "EWS Autodiscover Address", Err: errors.New(`counts only with YES in "EWS Autodiscover"`)})
	}
	opts = append(opts, WithAllowRedirection(v.Bool("EWS Allow Redirection", false)), WithUnread(v.Bool("EWS Unread Only", false)))
	if v.Has("Exchange Version") {
		version, err := ParseVersion(v.Text("Exchange Version"))
		if err != nil {
			errs = append(errs, &driver.ParamError{Name: "Exchange Version", Err: err})
		} else {
			opts = append(opts, WithVersion(version))
		}
	}
	if v.Bool("EWS Save Copy", false) {
		opts = append(opts, WithSaveCopy(v.Text("EWS Save Folder")).ForParameter("EWS Save Folder"))
	} else if v.Has("EWS Save Folder") {
		errs = append(errs, &driver.ParamError{Name: "EWS Save Folder", Err: errors.New(`counts only with TRUE in "EWS Save Copy"`)})
	}
	if !v.Bool("EWS Notifications", true) {
		opts = append(opts, WithoutPush())
	}
	after, err := afterOptions(v)
	return append(opts, after...), errors.Join(append(errs, err)...)
}

// afterOptions reads what becomes of handled mails.
func afterOptions(v driver.Values) (opts []driver.Option, err error) {
	what := v.Text("EWS After Processing")
	if v.Bool("Leave On Server", false) && what != "" && what != afterRowLeave {
		return nil, &driver.ParamError{Name: "EWS After Processing", Err: fmt.Errorf("%s contradicts %q", what, "Leave On Server")}
	}
	switch folder := v.Has("EWS Move Folder"); {
	case what == afterRowMove && !folder:
		return nil, &driver.ParamError{Name: "EWS Move Folder", Err: fmt.Errorf("%w with %s in %q", driver.ErrParameterRequired, what, "EWS After Processing")}
	case what != afterRowMove && folder:
		return nil, &driver.ParamError{Name: "EWS Move Folder", Err: fmt.Errorf("counts only with %s in %q", afterRowMove, "EWS After Processing")}
	}
	switch what {
	case afterRowMove:
		return []driver.Option{WithMoveTo(v.Text("EWS Move Folder")).ForParameter("EWS Move Folder")}, nil
	case afterRowSoft:
		return []driver.Option{WithDelete(SoftDelete)}, nil
	case afterRowTrash:
		return []driver.Option{WithDelete(MoveToDeletedItems)}, nil
	case afterRowHard:
		return []driver.Option{WithDelete(HardDelete)}, nil
	case afterRowRead:
		return []driver.Option{WithMarkRead()}, nil
	case afterRowLeave:
		return []driver.Option{driver.WithLeaveOnServer(true)}, nil
	}
	return nil, nil
}
