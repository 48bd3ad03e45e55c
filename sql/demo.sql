-- All SQL of `pgbq demo`: a small shop, work for the queue, and a look at each effect of that work.
--   -- shop <name>: what it builds, run in order in a new database
--   -- task <name> [topic] {options}: what it does for the shop
--   -- check <name>: one row (ok boolean, message text), read after the queue is empty
-- Everything is computed from numbers, nothing is random, so that every run gives the same shop.

-- shop customers: 20,000 customers
create schema shop;
create table shop.customers (
  id integer primary key, name text not null, city text not null, member_since date not null);
insert into shop.customers
select n, 'Customer ' || n, (array['Berlin', 'Lisbon', 'Osaka', 'Quito', 'Tunis', 'Utrecht'])[n % 6 + 1],
  current_date - (n * 37) % 2000
from generate_series(1, 20000) n;

-- shop products: 1,000 products in 8 categories
create table shop.products (
  id integer primary key, name text not null, category text not null,
  price_cents integer not null constraint price_is_positive check (price_cents > 0));
insert into shop.products
select n, 'Product ' || n, (array['books', 'coffee', 'garden', 'games', 'music', 'sports', 'tea', 'tools'])[n % 8 + 1],
  200 + (n * 7919) % 9800
from generate_series(1, 1000) n;
create table shop.price_changes (id integer generated always as identity primary key, reason text not null);

-- shop orders: 199,000 orders of the last year
create table shop.orders (
  id integer primary key, customer_id integer not null, product_id integer not null, quantity integer not null,
  amount_cents integer not null, ordered_on date not null, points integer not null default 0);
insert into shop.orders
select n, (n * 7919) % 20000 + 1, p.id, n % 3 + 1, (n % 3 + 1) * p.price_cents, current_date - (n * 31) % 365
from generate_series(1, 199000) n join shop.products p on p.id = (n * 613) % 1000 + 1;
alter table shop.orders add foreign key (customer_id) references shop.customers,
  add foreign key (product_id) references shop.products;

-- shop sales: a materialized view of sales by day
create materialized view shop.sales_by_day as
  select ordered_on, count(*) as orders, sum(amount_cents) as revenue_cents from shop.orders group by ordered_on;
create unique index on shop.sales_by_day (ordered_on);

-- shop today: 1,000 new orders that the view does not know yet
insert into shop.orders
select n, (n * 7919) % 20000 + 1, p.id, 1, p.price_cents, current_date
from generate_series(199001, 200000) n join shop.products p on p.id = (n * 613) % 1000 + 1;

-- shop carts: 5,000 abandoned carts, and a procedure that archives them
create table shop.carts (id integer primary key, customer_id integer not null);
insert into shop.carts select n, (n * 13) % 20000 + 1 from generate_series(1, 5000) n;
create table shop.archived_carts (id integer primary key, customer_id integer not null, archived_in xid8 not null);
create procedure shop.archive_carts() language plpgsql as $$
begin
  while exists (select from shop.carts) loop
    with moved as (delete from shop.carts where id in (select id from shop.carts order by id limit 1000) returning *)
    insert into shop.archived_carts select id, customer_id, pg_current_xact_id() from moved;
    commit;
  end loop;
end $$;

-- shop deliveries: a carrier that answers at the third call
create table shop.deliveries (order_id integer not null);
create sequence shop.carrier_calls;
create function shop.book_delivery(p_order_id integer) returns void language plpgsql as $$
begin
  insert into shop.deliveries values (p_order_id);
  if nextval('shop.carrier_calls') < 3 then
    raise exception 'The carrier does not answer';
  end if;
end $$;

-- shop reports: an empty table for a report
create table shop.revenue_report (
  month date, category text, orders bigint not null, revenue_cents bigint not null, primary key (month, category));

-- task delivery [backfill] {"priority": 10}: book a delivery; the carrier fails twice
select shop.book_delivery(4711)

-- task report [reports]: revenue by month and category, into a table
insert into shop.revenue_report
select date_trunc('month', o.ordered_on)::date, p.category, count(*), sum(o.amount_cents)
from shop.orders o join shop.products p on p.id = o.product_id group by 1, 2

-- task sales [reports]: refresh the materialized view
refresh materialized view concurrently shop.sales_by_day

-- task vacuum [maintenance]: tidy up after the bulk load
vacuum analyze shop.orders

-- task index [maintenance]: index the orders while they are written
create index concurrently orders_customer_idx on shop.orders (customer_id, ordered_on)

-- task carts [maintenance]: archive carts; the procedure commits
call shop.archive_carts()

-- task prices [maintenance]: a mistake that must fail: prices below zero
insert into shop.price_changes (reason) values ('summer sale: 50.00 off');
update shop.products set price_cents = price_cents - 5000

-- task points [backfill]: back-fill loyalty points of 200,000 orders
update shop.orders set points = points + amount_cents / 100 where id between :first and :last

-- check vacuum: VACUUM ANALYZE
select t.state = 'finished' and t.command_tag = 'VACUUM'
    -- before 15 the figure came late
    and (s.vacuum_count > 0 or current_setting('server_version_num')::integer < 150000) as ok,
  format('task %s, vacuumed %s and analyzed %s time(s)', t.state, s.vacuum_count, s.analyze_count) as message
from :"schema".pg_background_tasks t, pg_stat_user_tables s
where t.unique_key = 'vacuum' and s.relid = 'shop.orders'::regclass;

-- check index: CREATE INDEX CONCURRENTLY
select coalesce(bool_and(i.indisvalid and i.indisready), false) as ok,
  coalesce('the index is ' || case when bool_and(i.indisvalid) then 'valid, ' else 'INVALID, ' end
    || pg_size_pretty(sum(pg_relation_size(i.indexrelid))), 'there is no index') as message
from pg_index i where i.indexrelid = to_regclass('shop.orders_customer_idx');

-- check sales: REFRESH MATERIALIZED VIEW
select v.orders = 200000 and d.differences = 0 as ok,
  format('%s orders in the view, new ones included; %s days differ', v.orders, d.differences) as message
from (select sum(orders) as orders from shop.sales_by_day) v,
  (select count(*) as differences from shop.sales_by_day s
   full join (select ordered_on, count(*) as orders, sum(amount_cents) as revenue_cents
              from shop.orders group by ordered_on) o using (ordered_on)
   where (s.orders, s.revenue_cents) is distinct from (o.orders, o.revenue_cents)) d;

-- check points: back-fill, exactly once
select o.once = 200000 and t.finished = 50 as ok,
  format('%s of 50 updates, %s of 200000 orders have their points once', t.finished, o.once) as message
from (select count(*) filter (where points = amount_cents / 100) as once from shop.orders) o,
  (select count(*) filter (where state = 'finished') as finished
   from :"schema".pg_background_tasks where unique_key like 'points %') t;

-- check report: report into a table
select r.report_rows > 0 and d.differences = 0 as ok,
  format('%s rows, %s of them differ from the orders', r.report_rows, d.differences) as message
from (select count(*) as report_rows from shop.revenue_report) r,
  (select count(*) as differences from shop.revenue_report r
   full join (select date_trunc('month', o.ordered_on)::date as month, p.category, count(*) as orders,
                sum(o.amount_cents) as revenue_cents
              from shop.orders o join shop.products p on p.id = o.product_id group by 1, 2) o using (month, category)
   where (r.orders, r.revenue_cents) is distinct from (o.orders, o.revenue_cents)) d;

-- check carts: procedure that commits
select count(*) = 5000 and count(distinct archived_in) = 5 and not exists (select from shop.carts) as ok,
  format('%s carts archived in %s transactions', count(*), count(distinct archived_in)) as message
from shop.archived_carts;

-- check delivery: two failures, then success
select t.state = 'finished' and t.retry_count = 2 and c.calls = 3 and d.deliveries = 1 and a.failures = 2
    and t.closed_at - t.joined_at >= interval '6 seconds' as ok,
  format('%s attempts over %s s, %s delivery booked', c.calls,
    round(extract(epoch from t.closed_at - t.joined_at)::numeric, 1), d.deliveries) as message
from :"schema".pg_background_tasks t,
  (select case when is_called then last_value else 0 end as calls from shop.carrier_calls) c,
  (select count(*) as deliveries from shop.deliveries where order_id = 4711) d,
  lateral (select count(*) as failures from background_queue.attempts a
           where a.task_id = t.id and a.message = 'The carrier does not answer') a
where t.unique_key = 'delivery';

-- check prices: task that must fail
select t.state = 'failed' and t.errors like '%price_is_positive%' and p.unchanged = 1000 and c.notes = 0 as ok,
  format('task %s, %s of 1000 prices unchanged, %s traces left', t.state, p.unchanged, c.notes) as message
from :"schema".pg_background_tasks t,
  (select count(*) filter (where price_cents = 200 + (id * 7919) % 9800) as unchanged from shop.products) p,
  (select count(*) as notes from shop.price_changes) c
where t.unique_key = 'prices';

-- check limits: limits of the topics
select max(m.at_once) filter (where m.topic = 'maintenance') = 1 and max(m.at_once) filter (where m.topic = 'backfill') <= 2 as ok,
  'at once: ' || string_agg(format('%s %s', m.at_once, m.topic), ', ' order by m.topic) as message
from (select o.topic, max(o.running) as at_once
      from (select t.topic, count(*) as running
            from :"schema".pg_background_tasks t join :"schema".pg_background_tasks u
              on u.topic = t.topic and u.started_at <= t.started_at and t.started_at < u.closed_at
            group by t.id, t.topic) o
      group by o.topic) m;

-- check queue: nothing left
select count(*) filter (where state = 'finished') = 56 and count(*) filter (where state = 'failed') = 1 and count(*) = 57 as ok,
  format('%s finished, %s failed, %s left over', count(*) filter (where state = 'finished'),
    count(*) filter (where state = 'failed'), count(*) filter (where state not in ('finished', 'failed'))) as message
from :"schema".pg_background_tasks;
