"""`make mutants`: bugs of one line, planted one at a time, each of which the tests named beside it must catch.

They are planted in copies of this tree. One that survives asks for a sharper test, and one whose text is not found
any more for a look at what became of it.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
_LEFT_BEHIND = shutil.ignore_patterns(".*", "__pycache__")
_FAILED = re.compile(r"^FAILED tests/(\w+\.py::\w+)", re.MULTILINE)


class Mutant(NamedTuple):
    """A bug: in a file of `etl/`, `old` stands exactly once, and becomes `new`."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    """Those that are expected to catch it, of the folder of tests."""

    def is_found(self) -> bool:
        """Whether it can still be planted."""
        return (ROOT / "etl" / self.file).read_text("utf-8").count(self.old) == 1


MUTANTS = [
    # What a job's state means beside what is stored
    Mutant(
        "an older state is believed at once",
        "reconcile.py",
        "STALE_RUNS_UNTIL_BELIEVED = 3",
        "STALE_RUNS_UNTIL_BELIEVED = 1",
        ("test_order.py::test_an_older_state_never_overwrites_a_newer_one_and_is_counted",),
    ),
    Mutant(
        "an older state overwrites a newer one",
        "reconcile.py",
        "and_(this.update_time < this.old_update_time, ~",
        "and_(this.update_time > this.old_update_time, ~",
        ("test_order.py::test_an_older_state_never_overwrites_a_newer_one_and_is_counted",),
    ),
    Mutant(
        "what a job did while it was not listed, it did after AWS had called it gone",
        "reconcile.py",
        "case((this.from_status == NOT_LISTED, gone_not_before), else_=this.not_before)",
        "this.not_before",
        (
            "test_analysis.py::test_a_job_that_ended_while_it_was_not_listed_took_no_less_than_until_it_was_seen_last",
        ),
    ),
    Mutant(
        "another status at the same updateTime is stale",
        "reconcile.py",
        "and_(this.update_time < this.old_update_time, ~",
        "and_(this.update_time <= this.old_update_time, ~",
        ("test_order.py::test_another_status_at_the_same_update_time_is_believed_as_observed",),
    ),
    Mutant(
        "an updateTime that did not move is the moment of a change",
        "reconcile.py",
        "stored.c.status != NOT_LISTED, staged.update_time > stored.c.update_time",
        "stored.c.status != NOT_LISTED, staged.update_time >= stored.c.update_time",
        ("test_history.py::test_a_change_without_a_moved_update_time_is_stored_as_observed",),
    ),
    Mutant(
        "AWS's time tells when a job was listed again",
        "reconcile.py",
        "and_(stored.c.status != NOT_LISTED, staged.update_time > stored.c.update_time)",
        "staged.update_time > stored.c.update_time",
        ("test_absence.py::test_a_job_that_comes_back_changed_has_one_transition_to_its_new_status_dated_by_us",),
    ),
    Mutant(
        "a clock of AWS that runs ahead is believed",
        "reconcile.py",
        "AHEAD = timedelta(seconds=5)",
        "AHEAD = timedelta(hours=5)",
        ("test_history.py::test_further_ahead_the_change_is_stored_as_of_now_and_clamped",),
    ),
    Mutant(
        "not_before is lost",
        "reconcile.py",
        'func.greatest(created, *known).label("not_before")',
        'created.label("not_before")',
        (
            "test_history.py::test_the_last_complete_listing_is_a_witness_of_the_old_status",
            "test_history.py::test_the_previous_update_time_is_a_witness_of_the_old_status",
        ),
    ),
    Mutant(
        "when a status was stored is a witness of it",
        "reconcile.py",
        "this.old_update_time)), this.listed_at)",
        "this.old_update_time)), this.listed_at, this.from_time)",
        ("test_history.py::test_when_we_stored_the_old_status_is_no_witness_since_the_job_was_shown_before",),
    ),
    Mutant(
        "a window may have no beginning",
        "reconcile.py",
        "created = func.least(this.create_time, this.changed_time)",
        "created = case((this.is_new, func.least(this.create_time, this.changed_time)))",
        ("test_history.py::test_where_nothing_else_can_be_believed_the_job_s_creation_is_a_witness",),
    ),
    Mutant(
        "a witness from after the change is believed",
        "reconcile.py",
        "case((witness <= latest_possible, witness)) for witness",
        "witness for witness",
        (
            "test_history.py::test_a_listing_that_showed_the_old_status_after_awss_update_time_was_stale"
            "_and_is_no_witness",
        ),
    ),
    Mutant(
        "of two states of one moment the earlier read stands",
        "reconcile.py",
        "func.coalesce(stored.c.place, 0) > this.place",
        "func.coalesce(stored.c.place, 0) < this.place",
        ("test_random_worlds.py::test_of_two_states_of_one_moment_the_later_read_stands_though_it_is_known",),
    ),
    Mutant(
        "a row that did not change is written",
        "reconcile.py",
        "is_same = or_(this.is_equal, is_outrun)",
        "is_same = is_outrun",
        ("test_history.py::test_another_order_of_the_keys_writes_no_row",),
    ),
    Mutant(
        "a filtered listing is a witness of other models' jobs",
        "reconcile.py",
        "(in_scope, membership.c.listed_at),",
        "(true(), membership.c.listed_at),",
        ("test_history.py::test_a_filtered_listing_is_a_witness_for_the_jobs_that_it_asks_for_alone",),
    ),
    Mutant(
        "a listing that showed an older state is a witness",
        "reconcile.py",
        "(job.stale_runs > 0, null()),",
        "(job.stale_runs > 1, null()),",
        ("test_history.py::test_a_listing_that_showed_an_older_state_is_no_witness",),
    ),
    Mutant(
        "a quick sweep is a witness of jobs that it did not see",
        "reconcile.py",
        "in_scope, job.status.in_(OPEN_STATUSES))",
        "in_scope)",
        ("test_quick.py::test_a_quick_sweep_is_no_witness_of_a_job_that_was_not_open",),
    ),
    Mutant(
        "a newer state does not end the count of older ones",
        "reconcile.py",
        "            stale_runs=0,\n            absent_since=None,",
        "            absent_since=None,",
        ("test_order.py::test_a_newer_state_in_a_partial_run_begins_the_count_anew_too",),
    ),
    Mutant(
        "a sight of a job does not end the count of its absence",
        "reconcile.py",
        "absent_listings=0,\n            # What",
        "# What",
        ("test_absence.py::test_a_sight_in_a_partial_listing_ends_the_count",),
    ),
    Mutant(
        "the count of older states never ends by itself",
        "reconcile.py",
        "inference_job.c.membership_key == _owner, inference_job.c.stale_runs > 0",
        "inference_job.c.membership_key != _owner, inference_job.c.stale_runs > 0",
        ("test_order.py::test_a_fresh_sight_in_between_begins_the_count_anew",),
    ),
    # What is stored of a listing
    Mutant(
        "a listing counts from its end",
        "store.py",
        "            listed_at=run.started_at,",
        "            listed_at=func.clock_timestamp(),",
        ("test_history.py::test_the_last_complete_listing_is_a_witness_of_the_old_status",),
    ),
    Mutant(
        "parts that come newest first are taken for a whole that does",
        "store.py",
        "newest_first=before.newest_first if showed.is_split and showed.newest_first else showed.newest_first,",
        "newest_first=showed.newest_first,",
        ("test_split.py::test_a_first_listing_is_split_by_model_and_read_side_by_side",),
    ),
    Mutant(
        "a split listing puts off the one that is not",
        "store.py",
        "unsplit_at=before.unsplit_at if showed.is_split else run.started_at,",
        "unsplit_at=run.started_at,",
        ("test_split.py::test_once_in_full_every_one_is_not_split",),
    ),
    Mutant(
        "open_listed_at moves though a job was not seen",
        "store.py",
        "open_listed_at=run.started_at if showed.all_open else case((is_same_scope, before.open_listed_at)),",
        "open_listed_at=run.started_at,",
        ("test_quick.py::test_a_full_listing_is_no_witness_of_an_open_job_that_it_did_not_show",),
    ),
    Mutant(
        "a run that was given up as abandoned stays so",
        "store.py",
        'in_(["running", "abandoned"])',
        'in_(["running"])',
        ("test_lease.py::test_a_lease_that_is_over_is_taken_and_the_first_run_writes_no_more",),
    ),
    # What AWS answers
    Mutant(
        "who may not ask for a job learns that it is gone",
        "source.py",
        "if error.code in _NO_ANSWER:\n                return None",
        "if error.code in _NO_ANSWER:\n                return False",
        ("test_absence.py::test_without_permission_to_ask_it_takes_four_listings",),
    ),
    Mutant(
        "any refusal of Get says that the job is gone",
        "source.py",
        'if error.code == "ResourceNotFoundException":',
        'if error.code != "AccessDeniedException":',
        ("test_absence.py::test_without_an_answer_nothing_is_concluded_and_the_next_run_asks_again",),
    ),
    Mutant(
        "a refused listing is an empty one",
        "source.py",
        "if error.cure is None or error.cure in tried:\n                    raise",
        "if error.cure is None or error.cure in tried:\n                    return",
        ("test_absence.py::test_a_failure_is_no_empty_listing",),
    ),
    Mutant(
        "a token that comes again is the end of the listing",
        "source.py",
        'raise SourceError("RepeatedToken", "AWS gave the same nextToken twice: its pages go round")',
        "return",
        ("test_pagination.py::test_tokens_that_go_round_end_the_listing",),
    ),
    Mutant(
        "an empty page is the last",
        "source.py",
        "            if token is None:",
        "            if token is None or not page.items:",
        ("test_pagination.py::test_an_empty_page_with_a_token_is_followed",),
    ),
    Mutant(
        "what the first page went through goes on with the others",
        "onward.py",
        '    context["composed"] = params | {"context": dict(context)}',
        '    context["composed"] = params',
        ("test_onward.py::test_pages_that_come_give_back_what_retries_have_taken_of_botocore_s_quota",),
    ),
    Mutant(
        "one look gives up what is silent",
        "workers.py",
        "hanging, self._silent = silent & self._silent, silent",
        "hanging, self._silent = silent, silent",
        ("test_workers.py::test_one_look_gives_nothing_up",),
    ),
    Mutant(
        "whoever is heard of is a sign of all",
        "workers.py",
        "        self._heard_at[current_thread()] = time.monotonic()\n",
        "        self._heard_at |= dict.fromkeys([*self._heard_at, current_thread()], time.monotonic())\n",
        ("test_workers.py::test_only_who_syncs_a_membership_now_gives_a_sign_of_it",),
    ),
    Mutant(
        "pages go on with credentials that were replaced",
        "onward.py",
        "        elif self._first and self._first[0] is client:",
        "        elif self._first:",
        ("test_onward.py::test_who_has_other_credentials_by_now_asks_with_those",),
    ),
    Mutant(
        "a listing without end is complete",
        "source.py",
        'raise SourceError("TooManyPages", f"the listing did not end within {MAX_PAGES:,} pages")',
        "return",
        ("test_pagination.py::test_a_listing_that_never_ends_is_ended",),
    ),
    Mutant(
        "a request that is refused is taken for a refused token",
        "source.py",
        'is_refused = next_token is not None and code == "ValidationException"',
        'is_refused = code == "ValidationException"',
        ("test_pagination.py::test_a_first_page_that_is_refused_is_not_asked_for_again",),
    ),
    Mutant(
        "expired credentials are used again",
        "source.py",
        'if client and refusal.cure == "refresh":',
        'if client and refusal.cure == "restart":',
        ("test_source.py::test_credentials_that_expire_midway_are_renewed_and_the_listing_begins_again",),
    ),
    Mutant(
        "an answer that was only slow costs the role its refusal",
        "source.py",
        "        self._slot.leave()\n",
        "        self._slot.leave()\n        clients.begin_anew(self.aws, self.membership)\n",
        ("test_source.py::test_a_role_that_is_slow_to_be_refused_is_asked_for_once",),
    ),
    Mutant(
        "a look for credentials that hangs is waited for again",
        "reading.py",
        "                            listing.begin_anew()",
        "                            listing.leave()",
        ("test_source.py::test_a_look_for_credentials_that_hangs_is_left_behind",),
    ),
    Mutant(
        "an empty token is no token",
        "wire.py",
        'raise ValueError("its nextToken is empty")',
        "token = None",
        ("test_pagination.py::test_a_damaged_page_is_asked_for_again_and_never_taken_for_the_end",),
    ),
    Mutant(
        "a damaged page is not asked for again",
        "wire.py",
        'response_dict["status_code"] = 500',
        'response_dict["status_code"] = 200',
        ("test_pagination.py::test_a_damaged_page_is_asked_for_again_and_never_taken_for_the_end",),
    ),
    Mutant(
        "a damaged page is the last",
        "wire.py",
        'raise DamagedError(response.get("Error", {}).get("Message", ""))',
        "return Page([], None)",
        ("test_pagination.py::test_a_listing_with_a_damaged_page_says_nothing_of_the_jobs_that_it_did_not_show",),
    ),
    # What is no longer listed
    Mutant(
        "one listing without a job is enough",
        "absence.py",
        "LISTINGS_IF_CONFIRMED = 2",
        "LISTINGS_IF_CONFIRMED = 1",
        ("test_absence.py::test_one_listing_without_the_job_says_nothing",),
    ),
    Mutant(
        "it takes a listing too many",
        "absence.py",
        "job.listings >= needed",
        "job.listings > needed",
        ("test_absence.py::test_a_job_that_two_listings_and_get_do_not_know_is_not_listed",),
    ),
    Mutant(
        "the grace is ignored",
        "absence.py",
        "if job.has_waited and job.listings",
        "if job.listings",
        ("test_absence.py::test_the_second_listing_must_come_at_least_the_grace_after_the_first",),
    ),
    Mutant(
        "the grace begins anew with each listing",
        "absence.py",
        "absent_since=func.coalesce(job.absent_since, func.now()),",
        "absent_since=func.now(),",
        ("test_absence.py::test_the_second_listing_must_come_at_least_the_grace_after_the_first",),
    ),
    Mutant(
        "many that vanish at once are believed",
        "absence.py",
        "LISTINGS_IF_MANY = 5",
        "LISTINGS_IF_MANY = LISTINGS_IF_CONFIRMED",
        ("test_absence.py::test_of_more_than_ten_and_a_fifth_at_once_nothing_is_concluded_before_five_listings",),
    ),
    Mutant(
        "ten jobs are many",
        "absence.py",
        "len(missing) > max(",
        "len(missing) >= max(",
        ("test_absence.py::test_of_more_than_ten_and_a_fifth_at_once_nothing_is_concluded_before_five_listings",),
    ),
    Mutant(
        "no answer is as good as a no",
        "absence.py",
        "return exists is False or (",
        "return not exists or (",
        ("test_absence.py::test_without_permission_to_ask_it_takes_four_listings",),
    ),
    Mutant(
        "the digest of a missing job is kept",
        "absence.py",
        "            digest=None,\n",
        "",
        ("test_absence.py::test_a_job_that_comes_back_as_it_was_has_a_transition_from_not_listed",),
    ),
    Mutant(
        "the last listing that showed a job that is gone is forgotten",
        "absence.py",
        "func.greatest(created, known)",
        "created",
        ("test_absence.py::test_a_job_that_two_listings_and_get_do_not_know_is_not_listed",),
    ),
    Mutant(
        "a job is gone since the first listing without it",
        "absence.py",
        "func.greatest(func.now(), job.status_since + _JUST_AFTER)",
        "func.greatest(job.absent_since, job.status_since + _JUST_AFTER)",
        ("test_absence.py::test_a_job_that_two_listings_and_get_do_not_know_is_not_listed",),
    ),
    Mutant(
        "listings without a job are witnesses that it was gone",
        "absence.py",
        "is_denied = job.absent_listings < LISTINGS_IF_NOT_PERMITTED",
        "is_denied = job.absent_listings > 0",
        ("test_absence.py::test_that_listings_left_a_job_out_is_no_witness_that_it_was_gone",),
    ),
    Mutant(
        "AWS's own word that a job is gone is no witness",
        "absence.py",
        "is_denied = job.absent_listings < LISTINGS_IF_NOT_PERMITTED",
        "is_denied = job.absent_listings < 0",
        ("test_absence.py::test_a_job_that_comes_back_as_it_was_has_a_transition_from_not_listed",),
    ),
    Mutant(
        "a job that AWS knows and does not list is written at each run",
        "absence.py",
        ".where(job.job_key.in_(_keys()), job.absent_listings > 1)",
        ".where(job.job_key.in_(_keys()))",
        ("test_absence.py::test_for_a_job_that_aws_knows_but_does_not_list_nothing_is_written_any_more",),
    ),
    Mutant(
        "the listing at which AWS knew a job does not count",
        "absence.py",
        ".values(absent_listings=1, changed_at",
        ".values(absent_listings=0, changed_at",
        ("test_absence.py::test_an_answer_that_the_job_exists_begins_the_count_anew",),
    ),
    # One writer
    Mutant(
        "who lost the lease writes on",
        "leases.py",
        "membership.c.lease_epoch == run.epoch)\n        .values(**_lease(run.lease))",
        "membership.c.lease_epoch >= run.epoch)\n        .values(**_lease(run.lease))",
        ("test_lease.py::test_a_lease_that_is_over_is_taken_and_the_first_run_writes_no_more",),
    ),
    Mutant(
        "a lease that is held is taken",
        "leases.py",
        "until <= func.clock_timestamp(), is_deserted)",
        "until >= func.clock_timestamp(), is_deserted)",
        ("test_lease.py::test_who_comes_second_is_told_busy_and_leaves_no_trace",),
    ),
    Mutant(
        "two runs have one epoch",
        "leases.py",
        'held["lease_epoch"] + 1',
        'held["lease_epoch"]',
        ("test_lease.py::test_each_run_has_an_epoch_of_its_own",),
    ),
    Mutant(
        "full_due is not set after a killed run",
        "leases.py",
        '_abandon(connection, key) or held["full_due"]',
        '_abandon(connection, key) and held["full_due"]',
        ("test_quick.py::test_a_sweep_that_was_killed_between_its_pages_hides_nothing",),
    ),
    Mutant(
        "what is due is not",
        "leases.py",
        "columns.next_due_at <= now",
        "columns.next_due_at < columns.next_due_at",
        ("test_due.py::test_it_is_due_again_when_its_time_has_come",),
    ),
    Mutant(
        "a batch is written without the lease",
        "writer.py",
        "            leases.renew(connection, self._run)\n",
        "",
        ("test_lease.py::test_a_lease_that_is_over_is_taken_and_the_first_run_writes_no_more",),
    ),
    Mutant(
        "the lease runs out while there is nothing to write",
        "writer.py",
        "self._run.lease.total_seconds() / _RENEWALS",
        "self._run.lease.total_seconds() * _RENEWALS",
        ("test_lease.py::test_a_listing_longer_than_the_lease_keeps_it_though_there_is_nothing_to_write",),
    ),
    Mutant(
        "a lost COMMIT is taken for a failure",
        "writer.py",
        "_committed_batches(connection, self._run) > self._batches",
        "_committed_batches(connection, self._run) < self._batches",
        ("test_lost_commit.py::test_connections_lost_around_every_other_commit_leave_no_trace",),
    ),
    Mutant(
        "any lost COMMIT is taken for a success",
        "writer.py",
        "_committed_batches(connection, self._run) > self._batches",
        "_committed_batches(connection, self._run) >= self._batches",
        ("test_lost_commit.py::test_connections_lost_around_every_other_commit_leave_no_trace",),
    ),
    Mutant(
        "batches are not counted",
        "writer.py",
        "self._batches += 1",
        "self._batches = 0",
        ("test_lost_commit.py::test_connections_lost_around_every_other_commit_leave_no_trace",),
    ),
    Mutant(
        "a schema that is not ours any more is written to",
        "writer.py",
        "            database.check_revision(connection)  # a newer release may have come meanwhile\n",
        "",
        ("test_due.py::test_a_newer_schema_ends_the_syncs_that_run",),
    ),
    # A run
    Mutant(
        "what broke a listing off is swallowed",
        "settling.py",
        "raise batches.interruption",
        "return",
        ("test_absence.py::test_a_listing_that_broke_off_says_nothing",),
    ),
    Mutant(
        "an older state is as good as a sight of the job",
        "settling.py",
        "self.stale.extend(settled.stale_keys or ())",
        "self.shown.extend(settled.stale_keys or ())",
        ("test_order.py::test_an_older_state_is_believed_at_the_third_complete_run_in_a_row",),
    ),
    Mutant(
        "an older item beside a newer one counts as stale",
        "settling.py",
        "return set(self.stale).difference(self.shown)",
        "return set(self.stale)",
        ("test_order.py::test_an_older_item_beside_the_one_known_is_no_news",),
    ),
    Mutant(
        "of equally old states the earlier read is believed",
        "settling.py",
        "older.job.update_time >= kept.job.update_time",
        "older.job.update_time > kept.job.update_time",
        ("test_random_worlds.py::test_of_equally_old_states_the_later_read_is_believed_whatever_the_batches",),
    ),
    Mutant(
        "of equally new items of a batch the earlier wins",
        "batches.py",
        "job.update_time >= earlier.job.update_time",
        "job.update_time > earlier.job.update_time",
        ("test_order.py::test_of_two_items_as_new_as_each_other_the_one_read_later_wins",),
    ),
    Mutant(
        "a listing with a malformed item is complete",
        "run.py",
        "return not self.counts.jobs_rejected",
        "return True",
        ("test_bad_items.py::test_a_listing_with_a_set_aside_item_concludes_no_absence",),
    ),
    Mutant(
        "a run goes on over a batch that a failover has lost",
        "writer.py",
        "update(sync_run).where(*_is(run), sync_run.c.batches == before)",
        "update(sync_run).where(*_is(run))",
        ("test_failover.py::test_a_run_whose_last_batches_are_lost_ends_and_the_next_sweep_is_full",),
    ),
    Mutant(
        "the server compiles what is run for each batch",
        "leases.py",
        'func.set_config("jit", "off", True),',
        "",
        ("test_lease.py::test_the_server_compiles_nothing_of_a_run_and_whatever_it_likes_for_others",),
    ),
    Mutant(
        "the sweep after a batch was lost may be quick",
        "run.py",
        "leases.ask_for_full(self._connection, self._run)",
        "pass",
        ("test_failover.py::test_a_run_whose_last_batches_are_lost_ends_and_the_next_sweep_is_full",),
    ),
    Mutant(
        "a run that is lost closes the record of another one",
        "store.py",
        ".where(sync_run.c.run_id == run.run_id, sync_run.c.started_at == run.started_at)",
        ".where(sync_run.c.run_id == run.run_id)",
        ("test_failover.py::test_a_run_that_is_lost_leaves_alone_the_one_that_has_its_number",),
    ),
    Mutant(
        "a listing is the first one where only none was complete before",
        "settling.py",
        "return self._run.listed.at is None and self._writer.read(",
        "return self._run.listed.at is None or self._writer.read(",
        ("test_absence.py::test_what_a_first_listing_stored_before_it_broke_off_may_be_missing_in_the_next",),
    ),
    Mutant(
        "an updateTime that may have lain ahead is a witness",
        "reconcile.py",
        "case((this.update_time > this.old_update_time, this.old_update_time))",
        "this.old_update_time",
        ("test_history.py::test_an_update_time_that_does_not_go_on_makes_no_witness_of_the_one_before",),
    ),
    Mutant(
        "an updateTime that may have lain ahead is a witness of a job that is gone",
        "absence.py",
        "case((job.last_listed_at <= changed_time, job.last_listed_at))",
        "func.greatest(job.last_listed_at, job.update_time)",
        ("test_absence.py::test_an_update_time_that_lay_ahead_is_no_witness_of_a_job_that_is_gone",),
    ),
    Mutant(
        "a batch is looked up before the one before is stored",
        "settling.py",
        "        self._store(told)\n",
        """
        late, self.late = getattr(self, "late", None), told
        if late:
            self._store(late)
        if not batch.items:
            self._store(self.late)
""",
        ("test_pagination.py::test_of_two_states_of_one_moment_the_later_read_stands_whatever_was_stored_before",),
    ),
    Mutant(
        "a job that comes with two batches of a first listing ends the run",
        "settling.py",
        "self.may_come_again = True  # one that others, created meanwhile, have pushed down",
        "raise",
        ("test_pagination.py::test_a_job_that_comes_with_two_batches_of_a_first_listing_is_stored_once",),
    ),
    Mutant(
        "a split first listing settles what its first page has shown as new",
        "run.py",
        "self._settling.may_come_again = True",
        "pass",
        ("test_split.py::test_no_batch_of_a_split_first_listing_is_settled_twice",),
    ),
    Mutant(
        "a job that comes twice stands for one that is missing",
        "store.py",
        "if absence.count_distinct(shown) == tracked:",
        "if len(shown) == tracked:",
        ("test_pagination.py::test_a_job_that_comes_twice_does_not_stand_for_one_that_is_missing",),
    ),
    Mutant(
        "an older state of a job that is gone stands for one that is missing",
        "store.py",
        "if absence.count_distinct(shown) == tracked:",
        "if absence.count_distinct(shown + stale) == tracked:",
        ("test_absence.py::test_an_older_state_of_a_job_that_is_gone_does_not_stand_for_one_that_is_missing",),
    ),
    Mutant(
        "rows are read in the encoding of the session",
        "staging.py",
        " (ENCODING 'UTF8')",
        "",
        ("test_staging.py::test_what_is_copied_does_not_depend_on_the_encoding_of_the_session",),
    ),
    Mutant(
        "what has a meaning in COPY is copied as it is",
        "staging.py",
        "if not is_plain or ",
        "if False and ",
        ("test_staging.py::test_what_is_copied_is_what_was_given",),
    ),
    Mutant(
        "a split listing concludes absence",
        "run.py",
        "is_enough = not self._is_split or not self._missing()[0]",
        "is_enough = True",
        ("test_split.py::test_a_job_that_only_filtered_listings_do_not_show_is_not_gone",),
    ),
    Mutant(
        "a filtered listing concludes absence",
        "run.py",
        "if not self._membership.scope.is_whole:\n            return [], [], []",
        "if False:\n            return [], [], []",
        ("test_absence.py::test_a_filtered_listing_says_nothing_of_any_absence",),
    ),
    Mutant(
        "a job that is shown in an older state is missing",
        "store.py",
        "keys = _literal(shown + stale)",
        "keys = _literal(shown)",
        ("test_absence.py::test_a_listing_that_showed_an_older_state_of_the_job_ends_the_count",),
    ),
    Mutant(
        "full_due is not set after an interrupted run",
        "run.py",
        "self._run.listed.full_due or bool(self.counts.jobs_new) or not",
        "self._run.listed.full_due or not",
        ("test_quick.py::test_a_sweep_that_was_stopped_between_its_pages_hides_nothing",),
    ),
    Mutant(
        "a job that is missing asks for no full listing",
        "run.py",
        "full_due = bool(missing or stale)",
        "full_due = bool(stale)",
        ("test_quick.py::test_an_open_job_that_is_gone_is_looked_for_by_full_listings_until_that_is_concluded",),
    ),
    Mutant(
        "an older state asks for no full listing",
        "run.py",
        "full_due = bool(missing or stale)",
        "full_due = bool(missing)",
        (
            "test_quick.py"
            "::test_an_older_state_deep_in_the_list_is_looked_for_by_full_listings_until_it_is_believed",
        ),
    ),
    Mutant(
        "retries are counted wrong",
        "run.py",
        "retries=calls.retries",
        "retries=calls.requests",
        ("test_source.py::test_requests_retries_and_throttles_are_counted",),
    ),
    # Quick sweeps
    Mutant(
        "a listing out of order is believed to come newest first",
        "glance.py",
        "return self._reading.is_newest_first and not is_odd",
        "return not is_odd",
        ("test_quick.py::test_a_head_out_of_order_is_read_on_to_the_end",),
    ),
    Mutant(
        "a malformed item is passed over",
        "glance.py",
        "is_odd = self._settling.stale or self._settling.counts.jobs_rejected",
        "is_odd = self._settling.stale",
        ("test_quick.py::test_a_malformed_item_is_read_on_from",),
    ),
    Mutant(
        "a job that newer ones have pushed down ends the glance",
        "glance.py",
        "set(self._settling.shown[start:]) - seen",
        "set(self._settling.shown[start:])",
        ("test_quick.py::test_jobs_that_push_others_down_while_it_reads_hide_nothing",),
    ),
    Mutant(
        "a page with news ends the glance",
        "glance.py",
        "if shown and is_enough and",
        "if shown and",
        ("test_quick.py::test_it_reads_on_while_pages_tell_anything_new",),
    ),
    Mutant(
        "what newer jobs have pushed down counts among the fifty",
        "glance.py",
        "min(known_in_a_row, len(shown)) >= min(",
        "known_in_a_row >= min(",
        ("test_quick.py::test_what_newer_jobs_push_to_the_next_page_is_not_counted_among_the_fifty",),
    ),
    Mutant(
        "a few known jobs at the end of a page end the glance",
        "quick.py",
        "KNOWN_IN_A_ROW = 50",
        "KNOWN_IN_A_ROW = 49",
        ("test_quick.py::test_fifty_known_jobs_at_the_end_of_a_page_are_enough",),
    ),
    Mutant(
        "a job that the head left out is passed over",
        "glance.py",
        "return None if self._is_any_left_out(seen) else self._asked",
        "return self._asked",
        ("test_quick.py::test_a_job_that_is_gone_from_the_head_is_noticed",),
    ),
    Mutant(
        "Get's older answer is believed",
        "glance.py",
        " or now.update_time < job.update_time:",
        ":",
        ("test_quick.py::test_an_older_state_that_get_tells_is_not_taken",),
    ),
    Mutant(
        "Get's answer about another job is believed",
        "glance.py",
        "or now.job_arn != job.job_arn ",
        "",
        ("test_quick.py::test_the_answer_about_another_job_is_not_taken",),
    ),
    Mutant(
        "a change that Get tells without a moved updateTime is missed",
        "glance.py",
        "(now.status, now.update_time) != (job.status, job.update_time)",
        "now.update_time != job.update_time",
        ("test_quick.py::test_another_status_with_the_same_update_time_is_recorded_as_observed",),
    ),
    Mutant(
        "a quick sweep follows where a full listing is due",
        "quick.py",
        "        and not before.full_due\n",
        "",
        ("test_quick.py::test_what_is_still_due_stays_so_when_the_next_run_fails",),
    ),
    Mutant(
        "quick sweeps put the full one off for ever",
        "leases.py",
        "moment <= self.started_at < moment + span",
        "moment <= self.started_at",
        ("test_quick.py::test_a_full_listing_comes_when_full_every_is_over",),
    ),
    Mutant(
        "a quick sweep follows a listing of another filter",
        "quick.py",
        "        and before.scope == scope\n",
        "",
        ("test_quick.py::test_another_filter_asks_for_a_full_one",),
    ),
    Mutant(
        "a listing that did not come newest first is glanced at",
        "quick.py",
        "before.newest_first is True",
        "before.newest_first is not None",
        ("test_quick.py::test_where_aws_lists_the_oldest_first_there_is_none",),
    ),
    Mutant(
        "disorder is forgotten with the next page",
        "order.py",
        "self.holds = self.holds and is_falling",
        "self.holds = is_falling",
        ("test_quick.py::test_a_listing_comes_newest_first_only_where_no_job_is_newer_than_the_one_before",),
    ),
    Mutant(
        "two jobs of one moment are out of order",
        "order.py",
        "all(map(ge, created, islice(created, 1, None)))",
        "all(map(int.__gt__, created, islice(created, 1, None)))",
        ("test_quick.py::test_a_listing_comes_newest_first_though_new_jobs_push_others_down",),
    ),
    Mutant(
        "what newer jobs have pushed down is out of order",
        "order.py",
        "return any(created[:number] == before[-number:] for",
        "return any(False for",
        ("test_quick.py::test_a_listing_comes_newest_first_though_new_jobs_push_others_down",),
    ),
    Mutant(
        "a page may repeat a part of the end of the page before",
        "order.py",
        "return any(created[:number] == before[-number:] for",
        "return any(created[0] == before[-number] for",
        ("test_quick.py::test_a_page_that_repeats_a_part_of_the_end_of_the_page_before_is_out_of_order",),
    ),
    Mutant(
        "a page may begin with any newer job",
        "order.py",
        "is_falling and self._goes_on(created)",
        "is_falling",
        ("test_quick.py::test_a_listing_comes_newest_first_only_where_no_job_is_newer_than_the_one_before",),
    ),
    # Split listings
    Mutant(
        "jobs that name no version are lost between the versions",
        "plan.py",
        " and len(versions) > 1 and None not in versions",
        " and len(versions) > 1",
        ("test_split.py::test_a_model_of_whose_jobs_one_names_no_version_is_not_split_by_version",),
    ),
    Mutant(
        "models that AWS no longer tells of are left out",
        "plan.py",
        "dict.fromkeys([*stored, *models])",
        "dict.fromkeys(models)",
        ("test_split.py::test_the_parts_show_each_stored_job_of_a_model_once_and_each_model",),
    ),
    # What a job is
    Mutant(
        "a time without its zone is taken for UTC",
        "jobs.py",
        'raise ValueError("a moment needs its time zone")',
        "moment = moment.replace(tzinfo=UTC)",
        ("test_jobs.py::test_a_naive_or_absurd_time_is_set_aside",),
    ),
    Mutant(
        "the zone of a time is ignored",
        "jobs.py",
        "return moment.astimezone(UTC)",
        "return moment.replace(tzinfo=UTC)",
        ("test_jobs.py::test_the_latest_moment_itself_is_taken",),
    ),
    Mutant(
        "the latest moment itself is set aside",
        "jobs.py",
        "if moment > latest:",
        "if moment >= latest:",
        ("test_jobs.py::test_the_latest_moment_itself_is_taken",),
    ),
    Mutant(
        "our own word for a job that is gone is a status of AWS",
        "jobs.py",
        "if summary.status == NOT_LISTED:",
        "if not summary.status:",
        ("test_bad_items.py::test_our_own_word_for_a_job_that_is_gone_is_no_status_of_aws",),
    ),
    Mutant(
        "the ARN of another membership is taken",
        "jobs.py",
        'match["membership"] or membership_id',
        "membership_id",
        ("test_jobs.py::test_the_arn_of_another_membership_is_set_aside",),
    ),
]


class Trial(NamedTuple):
    """What came of the tests of one mutant, or of the sound tree."""

    has_passed: bool
    failed: str | None
    """The test that did: without one they could not be run, which catches nothing."""
    last_words: str
    seconds: float


def _test(tree: Path, tests: Iterable[str]) -> Trial:
    """Run tests of a tree until one fails."""
    started = time.monotonic()
    ran = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-m", "pytest", "-x", "-q", *(f"tests/{test}" for test in tests)],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree)},  # before the package that is installed
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    failed = _FAILED.search(ran.stdout)
    last_words = ran.stdout.rstrip().rpartition("\n")[2]
    return Trial(ran.returncode == 0, failed and failed[1], last_words, time.monotonic() - started)


def _try_out(trees: SimpleQueue[Path], mutant: Mutant) -> Trial:
    """Plant a mutant in a tree that nobody else uses meanwhile, and run its tests."""
    tree = trees.get()
    file = tree / "etl" / mutant.file
    sound = file.read_text("utf-8")
    try:
        file.write_text(sound.replace(mutant.old, mutant.new), "utf-8")
        return _test(tree, mutant.tests)
    finally:
        file.write_text(sound, "utf-8")
        trees.put(tree)


def _survivors(mutants: Sequence[Mutant], copies: Sequence[Path]) -> Iterator[str]:
    """Try mutants out, one at a time on each copy of the tree; print the table, and yield who survives."""
    trees: SimpleQueue[Path] = SimpleQueue()
    for tree in copies:
        trees.put(tree)
    with ThreadPoolExecutor(len(copies)) as executor:
        for mutant, trial in zip(mutants, executor.map(partial(_try_out, trees), mutants), strict=True):
            _say_row(mutant.name, trial.failed or f"NOBODY: {trial.last_words}", f"{trial.seconds:.1f}")
            if trial.failed is None:
                yield mutant.name


def _say_row(mutant: str, caught_by: str, seconds: str) -> None:
    sys.stdout.write(f"{mutant:<65} {seconds:>7}  {caught_by}\n")
    sys.stdout.flush()


def main() -> None:
    """Try all mutants out, or those with certain words in their names; exit with 1 if one survives."""
    parser = argparse.ArgumentParser(prog="python tests/mutants.py", description=__doc__)
    parser.add_argument("words", nargs="*", help="of the names of those to be tried out")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="tried out at the same time")
    options = parser.parse_args()
    if lost := [mutant.name for mutant in MUTANTS if not mutant.is_found()]:
        sys.exit(f"not found exactly once any more: {'; '.join(lost)}")
    chosen = [mutant for mutant in MUTANTS if all(word in mutant.name for word in options.words)]
    if not chosen:
        parser.error("no mutant has these words in its name")
    with TemporaryDirectory() as folder:
        copies = [Path(folder) / str(number) for number in range(options.workers)]
        for copy in copies:
            shutil.copytree(ROOT, copy, ignore=_LEFT_BEHIND)
        sound = _test(copies[0], dict.fromkeys(test for mutant in chosen for test in mutant.tests))
        if not sound.has_passed:
            sys.exit(f"without any mutant: {sound.failed or ''} {sound.last_words}")
        _say_row("mutant", "caught by", "seconds")
        survivors = list(_survivors(chosen, copies))
    if survivors:
        sys.exit(f"survived: {'; '.join(survivors)}")
    sys.stdout.write(f"All {len(chosen)} are caught.\n")


if __name__ == "__main__":
    main()
