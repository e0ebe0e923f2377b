package imap

import (
	"errors"
	"fmt"
	"slices"

	"github.com/maildriver/maildriver/driver"
)

const protocol = "IMAP"

// Params is the driver's table of documented parameters, for a
// [driver.Registry]: reg.Add("IMAP", imap.Params).
var Params = driver.Params{
	Protocol: protocol,
	Rows:     rows(),
	Options:  parameterOptions,
	New:      func(addr string, opts ...driver.Option) (driver.Driver, error) { return New(addr, opts...) },
	Targets:  func() []any { return newOptions().targets() },
}

// The values of the row "IMAP After Processing".
const (
	afterRowDelete  = "DELETE"
	afterRowMove    = "MOVE"
	afterRowSeen    = "SEEN"
	afterRowKeyword = "KEYWORD"
	afterRowLeave   = "LEAVE"
)

func rows() []driver.Param {
	network := driver.NetworkRows(protocol, DefaultPort, DefaultTLSPort)
	for i := range network {
		switch r := &network[i]; r.Name {
		case "IMAP Account Name":
			r.Required = true
		}
	}
	common := driver.CommonRows()
	for i := range common {
		if r := &common[i]; r.Name == "Spool Directory" {
			r.Required = true
		}
	}
	return slices.Concat(network, driver.InboundRows(protocol), common, []driver.Param{
		{Name: "IMAP Folder", Aliases: []string{"Current Folder"}, Session: "CURRENTFOLDER", Type: driver.ParamText, Default: "Inbox", Ours: true, Text: "The folder to poll, its parts separated by /, e.g. Inbox/Support. Well-known names such as SentItems or JunkEmail find the folder with that role."},
		{Name: "IMAP After Processing", Type: driver.ParamText, Default: afterRowDelete, Ours: true, Choices: []string{afterRowDelete, afterRowMove, afterRowSeen, afterRowKeyword, afterRowLeave}, Text: "What becomes of handled mails on the server: deleted, moved to IMAP Move Folder, marked as read, marked with IMAP Keyword, or left as they are (as Leave On Server)."},
		{Name: "IMAP Move Folder", Type: driver.ParamText, Ours: true, Text: "Where handled mails go with MOVE."},
		{Name: "IMAP Keyword", Type: driver.ParamText, Ours: true, Text: "The flag that handled mails get with KEYWORD, e.g. $Processed."},
		{Name: "IMAP Failed Folder", Type: driver.ParamText, Ours: true, Text: "Where mails go on the server that were moved to the failed directory; by default they are treated as the others."},
		{Name: "IMAP Unseen Only", Type: driver.ParamBool, Default: "FALSE", Ours: true, Text: "TRUE takes only mails that nobody has read."},
		{Name: "IMAP Search", Type: driver.ParamText, Ours: true, Text: `A criterion in the words of SEARCH that mails must match, e.g. FROM "ann@example.com".`},
		{Name: "IMAP Largest Size", Type: driver.ParamInt, Default: "any", Ours: true, Min: 1, Max: 1 << 50, Text: "Bytes of the largest mail that is looked at; larger ones are left alone."},
		{Name: "IMAP Plain Expunge", Type: driver.ParamBool, Default: "FALSE", Ours: true, Text: "TRUE permits EXPUNGE on servers without UIDPLUS while no other mail is marked as deleted."},
		{Name: "PROTOCOLTYPE", Type: driver.ParamText, Choices: []string{protocol}, Text: "The protocol of a session description; must be that of the driver."},
	})
}

// mechanisms maps the values of the authentication row to mechanisms.
var mechanisms = driver.SASLNames("cleartext")

// FromParameters reads parameters by their documented names into the address
// and the options of [New]. Every wrong row is reported, all in one error of
// kind [driver.KindConfig].
func FromParameters(parameters map[string]string) (addr string, opts []driver.Option, err error) {
	return Params.Read(parameters)
}

func parameterOptions(v driver.Values) (addr string, opts []driver.Option, err error) {
	addr, network, nerr := driver.NetworkOptions(v, protocol, mechanisms)
	common, cerr := driver.CommonOptions(v)
	own, oerr := ownOptions(v)
	return addr, slices.Concat(network, driver.InboundOptions(v, protocol), common, own), errors.Join(nerr, cerr, oerr)
}

// ownOptions reads the rows that only IMAP has.
func ownOptions(v driver.Values) (opts []driver.Option, err error) {
	if v.Has("IMAP Folder") {
		opts = append(opts, WithFolder(v.Text("IMAP Folder")).ForParameter("IMAP Folder"))
	}
	what := v.Text("IMAP After Processing")
	if v.Bool("Leave On Server", false) && what != "" && what != afterRowLeave {
		return opts, &driver.ParamError{Name: "IMAP After Processing", Err: fmt.Errorf("%s contradicts %q", what, "Leave On Server")}
	}
	needs := map[string]string{afterRowMove: "IMAP Move Folder", afterRowKeyword: "IMAP Keyword"}
	if row := needs[what]; row != "" && !v.Has(row) {
		return opts, &driver.ParamError{Name: row, Err: fmt.Errorf("%w with %s in %q", driver.ErrParameterRequired, what, "IMAP After Processing")}
	}
	for _, word := range []string{afterRowMove, afterRowKeyword} {
		if row := needs[word]; v.Has(row) && what != word {
			return opts, &driver.ParamError{Name: row, Err: fmt.Errorf("counts only with %s in %q", word, "IMAP After Processing")}
		}
	}
	switch what {
	case afterRowMove:
		opts = append(opts, WithMoveTo(v.Text("IMAP Move Folder")).ForParameter("IMAP Move Folder"))
	case afterRowSeen:
		opts = append(opts, WithMarkSeen())
	case afterRowKeyword:
		opts = append(opts, WithKeyword(v.Text("IMAP Keyword")).ForParameter("IMAP Keyword"))
	case afterRowLeave:
		opts = append(opts, driver.WithLeaveOnServer(true))
	}
	if v.Has("IMAP Failed Folder") {
		opts = append(opts, WithFailedFolder(v.Text("IMAP Failed Folder")).ForParameter("IMAP Failed Folder"))
	}
	if v.Has("IMAP Search") {
		opts = append(opts, WithSearch(v.Text("IMAP Search")).ForParameter("IMAP Search"))
	}
	if v.Has("IMAP Largest Size") {
		opts = append(opts, WithMaxSize(v.Int("IMAP Largest Size", 0)))
	}
	if v.Bool("IMAP Plain Expunge", false) {
		opts = append(opts, WithPlainExpunge())
	}
	return append(opts, WithUnseen(v.Bool("IMAP Unseen Only", false))), nil
}
