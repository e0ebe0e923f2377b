package driver

import (
	"errors"
	"fmt"
	"reflect"
)

// An Option sets one value of a driver, or a bundle of them. Options are made
// with [NewOption] by this package and by the protocol packages; a host only
// lists them. Order alone decides: a later option wins over an earlier one.
//
// An Option is immutable and may be shared by any number of goroutines.
type Option struct {
	name   string
	target reflect.Type // the pointer type that set takes; nil for the zero Option
	set    func(any) error
	half   []Option // an option made by NewOnly
	param  bool     // name is that of a parameter
}

// NewOption makes an option called name, e.g. "pop3.BatchSize", that sets
// something in a T. It takes effect where [Apply] is given a *T. An error of
// set must say which limit was broken; Apply adds the name.
func NewOption[T any](name string, set func(*T) error) Option {
	return Option{
		name:   name,
		target: reflect.TypeFor[*T](),
		set:    func(t any) error { return set(t.(*T)) },
	}
}

// NewOnly bundles options for the one half of a pair that has a T among its
// targets; every other half ignores the bundle. Protocol packages export it as
// their Only.
func NewOnly[T any](name string, opts ...Option) Option {
	return Option{name: name, target: reflect.TypeFor[*T](), half: append([]Option{}, opts...)}
}

// ForParameter returns o under the name of the documented parameter that it was
// made of, so that its error, a [*ParamError], names what the user wrote.
func (o Option) ForParameter(name string) Option {
	o.name, o.param = name, true
	return o
}

// Name returns the name that errors use for the option.
func (o Option) Name() string { return o.name }

// ErrMisplaced is reported for an option that the driver, or this call, does
// not take.
var ErrMisplaced = errors.New("option not taken here")

// An OptionError tells which option could not be applied.
type OptionError struct {
	Name string
	Err  error
}

func (e *OptionError) Error() string { return fmt.Sprintf("%s: %v", e.Name, e.Err) }
func (e *OptionError) Unwrap() error { return e.Err }

// Apply applies opts in their order to the targets, each a pointer to a
// settings struct. Every option that fails or that no target takes is
// reported, all in one error of kind [KindConfig]; each is found as an
// [*OptionError]. Targets may be half changed after an error: apply to a copy.
func Apply(opts []Option, targets ...any) error {
	var errs []error
	apply(opts, targets, &errs)
	if len(errs) == 0 {
		return nil
	}
	return &Error{Op: "options", Kind: KindConfig, Err: errors.Join(errs...)}
}

func apply(opts []Option, targets []any, errs *[]error) {
	for _, o := range opts {
		if o.target == nil {
			continue // the zero Option does nothing
		}
		t := o.find(targets)
		switch {
		case o.half != nil:
			if t != nil {
				apply(o.half, targets, errs)
			}
		case t == nil:
			*errs = append(*errs, &OptionError{o.name, ErrMisplaced})
		default:
			switch err := o.set(t); {
			case err != nil && o.param:
				*errs = append(*errs, &ParamError{o.name, err})
			case err != nil:
				*errs = append(*errs, &OptionError{o.name, err})
			}
		}
	}
}

func (o Option) find(targets []any) any {
	for _, t := range targets {
		if reflect.TypeOf(t) == o.target {
			return t
		}
	}
	return nil
}

// Split parts opts into those that one of the targets takes and the rest, both
// in their order. It lets a layer that owns some options hand on the others.
func Split(opts []Option, targets ...any) (taken, rest []Option) {
	for _, o := range opts {
		if o.target == nil || o.find(targets) != nil {
			taken = append(taken, o)
		} else {
			rest = append(rest, o)
		}
	}
	return taken, rest
}
