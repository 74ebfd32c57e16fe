package adminapi

// KeysStatus says which keys encrypt the records of the store.
type KeysStatus struct {
	Keys []KeyStatus `json:"keys"`
	// Clear is how many records are not encrypted.
	Clear int64 `json:"clear"`
	// AllEncrypted says that the store accepts no clear record any more.
	AllEncrypted bool `json:"all_encrypted"`
}

// A KeyStatus is what one key has encrypted.
type KeyStatus struct {
	ID      string `json:"id"`
	Primary bool   `json:"primary"`
	Records int64  `json:"records"`
	// Removable says that the configuration no longer needs the key.
	Removable bool `json:"removable"`
}

// Rewrap asks for some records to be encrypted with the primary key.
type Rewrap struct {
	// After is the Next of the answer before; nothing begins at the beginning.
	After string `json:"after,omitempty"`
}

// Rewrapped is what was done. The numbers are those of this call.
type Rewrapped struct {
	// Looked is how many records were looked at, and Changed how many of them were encrypted.
	Looked  int64 `json:"looked"`
	Changed int64 `json:"changed"`
	// Waiting is how many are about to be removed, and were left.
	Waiting int64 `json:"waiting"`
	// Unreadable is how many can't be read, and were left.
	Unreadable int64 `json:"unreadable"`
	// Next is what the next call asks after; nothing at the end. Stage is what it will do.
	Next  string `json:"next,omitempty"`
	Stage string `json:"stage,omitempty"`
	// Complete says, at the end, that nothing is left that is clear or encrypted with another key.
	Complete bool `json:"complete"`
}
