;; A filter that does nothing: what any filter of this kind costs, whatever it does.
;;
;; It has what Envoy asks of a module and no import, and it stays out of replies, bodies and logs.
(module
  (memory (export "memory") 1)
  (global $free (mut i32) (i32.const 1024))

  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_memory_allocate") (param $size i32) (result i32)
    (local $start i32)
    (local.set $start (global.get $free))
    (global.set $free (i32.add (local.get $start) (local.get $size)))
    (local.get $start))
  (func (export "proxy_on_context_create") (param $context i32) (param $parent i32))
  (func (export "proxy_on_vm_start") (param $context i32) (param $size i32) (result i32) (i32.const 1))
  (func (export "proxy_on_configure") (param $context i32) (param $size i32) (result i32) (i32.const 1))
  ;; 0 is `Continue`.
  (func (export "proxy_on_request_headers") (param $context i32) (param $count i32) (param $end i32) (result i32)
    (i32.const 0))
  (func (export "proxy_on_done") (param $context i32) (result i32) (i32.const 1))
  (func (export "proxy_on_delete") (param $context i32)))
